"""The supervised loss: cross-entropy with the given labels, mixed as in the view and smoothed."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from decant.data.views import ViewSet
from decant.study import Training
from decant.training.loop import Criterion


def supervised_loss(
    views: ViewSet,
    targets: np.ndarray,
    weight: np.ndarray,
    classes: int,
    settings: Training,
    logit_adjustment: float = 0.0,
) -> Criterion:
    """Weighted mean over the batch of the cross-entropy with soft targets: Σ_i w_i CE_i / Σ_i w_i.

    targets: int64 [len(cache)], -1 for an image without a label (such rows must not be trained on). weight: float
    [len(cache)], sample weights. settings: `label_smoothing` is the epsilon of Szegedy et al. 2016, eq. 7; `balance`
    the exponent of the inverse class frequency. logit_adjustment: tau of Menon et al. 2021, eq. 10.
    """
    smoothing = settings.label_smoothing
    factor = torch.from_numpy(row_weights(targets, weight, classes, settings.balance)).float()
    offset = torch.from_numpy(logit_adjustment * log_prior(targets, classes)).float()

    def criterion(logits: Tensor, rows: np.ndarray, view: int) -> Tensor:
        hard = view_targets(views, targets, classes, rows, view)
        soft = hard * (1 - smoothing) + smoothing / classes
        losses = -(soft.to(logits.device) * F.log_softmax(logits + offset.to(logits.device), dim=1)).sum(dim=1)
        row_weight = factor[torch.from_numpy(rows)].to(logits.device)
        return (losses * row_weight).sum() / row_weight.sum().clamp_min(1e-6)

    return criterion


def view_targets(views: ViewSet, targets: np.ndarray, classes: int, rows: np.ndarray, view: int) -> Tensor:
    """Labels of a view, float32 [B, K]: one-hot, or mixed by the shares of its two images (Zhang et al. 2018)."""
    onehot = F.one_hot(torch.from_numpy(targets[rows]), classes).float()
    parameters = views.draw(rows, view)
    mixed = np.flatnonzero(parameters.partner >= 0)
    if len(mixed):
        others = F.one_hot(torch.from_numpy(targets[parameters.partner[mixed]]), classes).float()
        share = torch.from_numpy(parameters.share[mixed])[:, None]
        onehot[mixed] = onehot[mixed] * share + others * (1 - share)
    return onehot


def row_weights(targets: np.ndarray, weight: np.ndarray, classes: int, balance: float) -> np.ndarray:
    """The weight of each row in the mean of `supervised_loss`, float64 [len(cache)]."""
    return weight * class_factors(targets, classes, balance)[targets]


def class_factors(targets: np.ndarray, classes: int, balance: float) -> np.ndarray:
    """(mean count / count) ** balance for each class, float64 [K]; unlabelled rows do not count."""
    counts = np.bincount(targets[targets >= 0], minlength=classes).clip(1)
    return (counts.mean() / counts) ** balance


def log_prior(targets: np.ndarray, classes: int) -> np.ndarray:
    """Logarithms of the class frequencies, float64 [K]; a class without images counts as one image."""
    counts = np.bincount(targets[targets >= 0], minlength=classes).clip(1)
    return np.log(counts / counts.sum())


def equal_class_probability(targets: np.ndarray) -> np.ndarray:
    """Probability of each row at which all classes are drawn equally often: float64 [n], sum 1. targets: [n]."""
    _, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return 1 / (counts[inverse] * len(counts))
