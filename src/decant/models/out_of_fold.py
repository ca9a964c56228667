"""Probabilities of images by linear probes on frozen features that were fitted without them."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from decant.data.splits import folds
from decant.models.probe import LinearProbe
from decant.tracking import progress

PROBE_STRENGTH = 0.01  # C; not chosen on val, because the labels of val are judged too


def out_of_fold(
    features: np.ndarray, targets: np.ndarray, groups: Sequence[str], classes: int, k: int, seed: int
) -> np.ndarray:
    """Probabilities of each row by a linear probe that was fitted without its fold; float64 [n, classes].

    features: float32 [n, D]. targets: int64 [n] in [0, classes). groups: [n]; a group lies in one fold.
    """
    k = possible_folds(targets, groups, k)
    fold = folds(list(groups), list(targets), k, seed) if k > 1 else np.full(len(targets), -1)
    probabilities = np.zeros((len(targets), classes))
    for index in progress(range(k), "label probe", unit="folds"):
        fitted, held_out = np.flatnonzero(fold != index), np.flatnonzero(fold == index)
        probabilities[held_out] = probe_probabilities(features, targets, classes, fitted, held_out)
    return probabilities


def possible_folds(targets: np.ndarray, groups: Sequence[str], k: int) -> int:
    """k, or fewer folds if there are too few groups or images of a class; below 2, no folds are possible."""
    return min(k, len(set(groups)), int(np.bincount(targets).max()))


def probe_probabilities(
    features: np.ndarray, targets: np.ndarray, classes: int, fitted_rows: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Probabilities of `rows` by a linear probe fitted on `fitted_rows`; float64 [len(rows), classes].

    features: float32 [n, D]. targets: int64 [n], in [0, classes) for the fitted rows.
    """
    probe = LinearProbe(classes, PROBE_STRENGTH).fit(features[fitted_rows], targets[fitted_rows])
    return np.asarray(softmax(probe.logits(features[rows]), axis=1))
