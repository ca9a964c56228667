"""A head fitted to frozen features: all the training of a linear probe, and a starting point for fine-tuning.

A random head gives wrong gradients at first, which distort good features; a fitted head does not. The damage is largest
under distribution shift (Kumar, Raghunathan, Jones, Ma & Liang 2022, "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution").
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import log_softmax

from decant.evaluation.scores import scores
from decant.models.probe import REGULARISATION, LinearProbe
from decant.tracking import progress

MAX_ROWS = 10_000  # time and memory of a fit grow with the number of images, and there is one fit per strength


def choose_probe(
    features: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray,
    val_features: np.ndarray,
    val_targets: np.ndarray,
    classes: int,
    metric: str,
) -> tuple[LinearProbe, list[dict[str, float]]]:
    """Fit a probe per regularisation strength; return the best on val and the val scores of each.

    features: float32 [n, D]. targets: int64 [n]. weight: [n]. metric: a key of `scores`; the likelihood on
    val decides ties.
    """
    ranked: list[tuple[tuple[float, float], LinearProbe]] = []
    rows: list[dict[str, float]] = []
    for strength in progress(REGULARISATION, "regularisation"):
        probe = LinearProbe(classes, strength).fit(features, targets, weight)
        val = scores(log_softmax(probe.logits(val_features), axis=1), val_targets)
        ranked.append((rank(val, metric), probe))
        rows.append({"strength": strength, **{f"val_{name}": round(value, 5) for name, value in val.items()}})
    return max(ranked, key=lambda pair: pair[0])[1], rows


def rank(val: Mapping[str, float], metric: str) -> tuple[float, float]:
    """What is higher for better scores on val: the metric, then the likelihood."""
    return val[metric], -val["nll"]


def subsample(rows: np.ndarray, targets: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most `most` of the rows, in their given order; each class keeps its share, and at least one row."""
    if len(rows) <= most:
        return rows
    rank = np.empty(len(rows))
    generator = np.random.default_rng(seed)
    for target in np.unique(targets):
        members = np.flatnonzero(targets == target)
        rank[generator.permutation(members)] = np.arange(len(members)) / len(members)
    return rows[np.sort(np.argsort(rank, kind="stable")[:most])]
