"""Auxiliary labels: further outputs of the last layer, which a network has during training alone.

A network that must also predict the make of a car learns features that the body style alone does not require (Caruana
1997, "Multitask Learning"). The outputs of the further columns follow those of the classes and are cut off afterwards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from decant.data.views import ViewSet
from decant.models.backbones import head_of
from decant.models.classifier import Classifier
from decant.training.loop import Criterion, Evaluate
from decant.training.supervised import view_targets


@dataclass(frozen=True)
class AuxiliaryLabels:
    """The labels of one further column. targets: int64 [len(cache)] in [0, classes), -1 where the label is missing."""

    targets: np.ndarray
    classes: int


def with_auxiliary(
    main: Criterion,
    columns: Sequence[AuxiliaryLabels],
    views: ViewSet,
    sample_weight: np.ndarray,
    classes: int,
    smoothing: float,
    weight: float,
) -> Criterion:
    """The loss `main` of the first `classes` logits plus `weight` times the loss of each column's logits after them.

    sample_weight: float [len(cache)]. smoothing: as for `supervised_loss`.
    """
    row_weight = torch.from_numpy(sample_weight).float()

    def criterion(logits: Tensor, rows: np.ndarray, view: int) -> Tensor:
        main_logits, *auxiliary_logits = logits.split([classes, *(column.classes for column in columns)], dim=1)
        loss = main(main_logits, rows, view)
        weights = row_weight[torch.from_numpy(rows)].to(logits.device)
        for column, column_logits in zip(columns, auxiliary_logits, strict=True):
            targets = auxiliary_targets(views, column, rows, view).to(logits.device)
            loss = loss + weight * auxiliary_loss(column_logits, targets, weights, smoothing)
        return loss

    return criterion


def auxiliary_targets(views: ViewSet, column: AuxiliaryLabels, rows: np.ndarray, view: int) -> Tensor:
    """float32 [B, classes]: the column's labels, mixed as the given labels, without the share of missing ones."""
    with_missing = np.where(column.targets < 0, column.classes, column.targets)
    return view_targets(views, with_missing, column.classes + 1, rows, view)[:, :-1]


def auxiliary_loss(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Weighted mean over the batch of the smoothed cross-entropy. targets: [B, A], rows sum to the known share.

    A missing label adds nothing, and a known label has the same weight however many of the batch are missing.
    """
    smooth = targets * (1 - smoothing) + targets.sum(dim=1, keepdim=True) * smoothing / targets.shape[1]
    losses = -(smooth * F.log_softmax(logits, dim=1)).sum(dim=1)
    return (losses * weights).sum() / weights.sum().clamp_min(1e-6)


def widen(classifier: Classifier, outputs: int) -> None:
    """Append `outputs` outputs to the last layer, in place.

    Their weights are zeros: random ones would send wrong gradients into the body at first, as a random head does.
    """
    head = head_of(classifier)
    wide_head = blank_like(head, head.out_features + outputs)
    with torch.no_grad():
        for own, new in zip(head.parameters(), wide_head.parameters(), strict=True):
            new.zero_()
            new[: head.out_features] = own
    replace_head(classifier, wide_head)


def narrow(classifier: Classifier, outputs: int) -> None:
    """Keep the first `outputs` outputs of the last layer, in place."""
    head = head_of(classifier)
    narrow_head = blank_like(head, outputs)
    with torch.no_grad():
        for own, new in zip(head.parameters(), narrow_head.parameters(), strict=True):
            new.copy_(own[:outputs])
    replace_head(classifier, narrow_head)


def of_first_outputs(evaluate: Evaluate, outputs: int) -> Evaluate:
    """`evaluate` for a network with more outputs: it scores the first `outputs` alone."""

    def narrowed(classifier: Classifier) -> dict[str, float]:
        with kept_head(classifier):
            narrow(classifier, outputs)
            return evaluate(classifier)

    return narrowed


@contextmanager
def kept_head(classifier: Classifier) -> Iterator[None]:
    """Put the last layer back after the block: the optimiser holds its weights."""
    head = head_of(classifier)
    try:
        yield
    finally:
        replace_head(classifier, head)


def blank_like(head: nn.Linear, outputs: int) -> nn.Linear:
    """A linear layer with the inputs, device and dtype of `head`; its weights are not set."""
    weight = head.weight
    layer = skip_init(
        nn.Linear, head.in_features, outputs, bias=head.bias is not None, device=weight.device, dtype=weight.dtype
    )
    assert isinstance(layer, nn.Linear)
    return layer.requires_grad_(weight.requires_grad)


def replace_head(classifier: Classifier, layer: nn.Linear) -> None:
    head, backbone = head_of(classifier), classifier.backbone
    name = next(name for name, module in backbone.named_modules() if module is head)
    parent, _, last = name.rpartition(".")
    setattr(backbone.get_submodule(parent), last, layer)
