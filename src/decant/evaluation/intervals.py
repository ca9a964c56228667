"""Uncertainty of a metric: bootstrap intervals, paired comparisons, McNemar's test.

Accuracy and macro precision of a resample depend only on how often each (target, prediction) pair was drawn, and
those counts are multinomial. Drawing the counts instead of n indices per resample is the same bootstrap (Efron
1979) at a cost that does not grow with n. Images that depend on one another, such as near duplicates, are a group, and
whole groups are drawn (Davison & Hinkley 1997, section 3.8); otherwise the intervals would be too narrow.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.stats import binom

Integers = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]
Groups = npt.NDArray[Any]  # of numbers or of strings
Measure = Callable[[Integers, Integers, Counts], npt.NDArray[np.float64]]

RESAMPLES = 1000
LEVEL = 0.95
DRAWN_NUMBERS = 10**7  # in memory at a time
COMPARISON_COLUMNS = (
    "model", "other", "primary", "split", "n",
    "accuracy_difference", "accuracy_difference_low", "accuracy_difference_high",
    "precision_macro_difference", "precision_macro_difference_low", "precision_macro_difference_high",
    "only_model_right", "only_other_right", "mcnemar_p",
)  # fmt: skip


def bootstrap_intervals(
    targets: Integers,
    predictions: Integers,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of `accuracy` and `precision_macro`, each (low, high) in [0, 1].

    Args:
        targets, predictions: [n] class indices, n ≥ 1.
        groups: [n], equal for images that depend on one another; None: no image depends on another.
    """
    cells, counts = _resampled_cells(np.stack([targets, predictions], axis=1), resamples, seed, groups)
    return {
        "accuracy": _percentiles(_accuracy(cells[:, 0], cells[:, 1], counts)),
        "precision_macro": _percentiles(_precision_macro(cells[:, 0], cells[:, 1], counts)),
    }


def mean_interval_of_groups(
    values: npt.NDArray[np.floating], groups: Groups, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean of values [n]. groups: [n], as in `bootstrap_intervals`."""
    _, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, weights=values), np.bincount(group)
    means = [(drawn @ sums) / (drawn @ sizes) for drawn in _drawn_groups(len(sizes), resamples, seed)]
    return _percentiles(np.concatenate(means))


def comparison_row(
    model: str,
    other: str,
    split: str,
    targets: Integers,
    model_predictions: Integers,
    other_predictions: Integers,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Groups | None = None,
    *,
    primary: bool = False,
) -> dict[str, object]:
    """Two models on the same images: a row of `benchmarks/precision/comparisons.csv` (COMPARISON_COLUMNS).

    Differences are `model` − `other`. Both predictions for an image are drawn together. groups: [n], as in
    `bootstrap_intervals`. primary: the comparison was chosen before any result was seen. Raises ValueError if the
    numbers of predictions differ.
    """
    if not len(targets) == len(model_predictions) == len(other_predictions):
        raise ValueError(f"{model} and {other} must have predictions for the same {len(targets)} images")
    triples = np.stack([targets, model_predictions, other_predictions], axis=1)
    distinct, distinct_counts = _cells(triples)
    cells, counts = _resampled_cells(triples, resamples, seed, groups)
    row: dict[str, object] = {"model": model, "other": other, "primary": primary, "split": split}
    row["n"] = len(targets)
    for name, measure in (("accuracy", _accuracy), ("precision_macro", _precision_macro)):
        observed = _difference(measure, distinct, distinct_counts[None])[0]
        low, high = _percentiles(_difference(measure, cells, counts))
        row |= {f"{name}_difference": float(observed)}
        row |= {f"{name}_difference_low": low, f"{name}_difference_high": high}
    model_only = int(((model_predictions == targets) & (other_predictions != targets)).sum())
    other_only = int(((model_predictions != targets) & (other_predictions == targets)).sum())
    p = mcnemar(model_only, other_only)
    return row | {"only_model_right": model_only, "only_other_right": other_only, "mcnemar_p": p}


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided p-value of the hypothesis that both models are right equally often (McNemar 1947, exact form).

    Args:
        first_only, second_only: images that only the first or only the second model classifies correctly. Under the
            null hypothesis the first is Binomial(first_only + second_only, 1/2).
    """
    n = first_only + second_only
    return float(min(1.0, 2 * binom.cdf(min(first_only, second_only), n, 0.5)))


def _difference(measure: Measure, cells: Integers, counts: Counts) -> npt.NDArray[np.float64]:
    difference: npt.NDArray[np.float64] = measure(cells[:, 0], cells[:, 1], counts) - measure(
        cells[:, 0], cells[:, 2], counts
    )
    return difference


def _cells(columns: Integers) -> tuple[Integers, Counts]:
    """The distinct rows of `columns` [n, c] as [C, c], and how often each occurs [C]."""
    cells, counts = np.unique(columns, axis=0, return_counts=True)
    return cells, counts


def _resampled_cells(
    columns: Integers, resamples: int, seed: int, groups: Groups | None = None
) -> tuple[Integers, Counts]:
    """The distinct rows [C, c], and their counts [resamples, C] when rows, or whole groups of them, are drawn."""
    if groups is None or len(np.unique(groups)) == len(columns):
        cells, counts = _cells(columns)
        n = int(counts.sum())
        return cells, np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)
    cells, cell = np.unique(columns, axis=0, return_inverse=True)
    names, group = np.unique(groups, return_inverse=True)
    ones = np.ones(len(columns), dtype=np.int64)
    members = coo_array((ones, (group, cell.reshape(-1))), shape=(len(names), len(cells))).tocsr()  # sums repeats
    return cells, np.concatenate([drawn @ members for drawn in _drawn_groups(len(names), resamples, seed)])


def _drawn_groups(count: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each of `count` groups is drawn, [r, count] for r resamples at a time, `resamples` in all."""
    random, at_a_time = np.random.default_rng(seed), max(1, DRAWN_NUMBERS // count)
    for start in range(0, resamples, at_a_time):
        yield random.multinomial(count, np.full(count, 1 / count), size=min(at_a_time, resamples - start))


def _percentiles(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the central interval that contains the share LEVEL of the values."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _accuracy(targets: Integers, predictions: Integers, counts: Counts) -> npt.NDArray[np.float64]:
    """Accuracy of each resample: [C] targets and predictions, [R, C] counts → [R]."""
    return counts[:, targets == predictions].sum(axis=1) / counts.sum(axis=1)


def _precision_macro(targets: Integers, predictions: Integers, counts: Counts) -> npt.NDArray[np.float64]:
    """Macro precision of each resample, shapes as in `_accuracy`.

    The mean is over the classes that occur in the resample; a class that is never predicted counts 0.
    """
    labels = np.arange(int(max(targets.max(), predictions.max())) + 1)
    weights = counts.astype(np.float64)  # integers have no fast matrix product
    predicted = weights @ (predictions[:, None] == labels).astype(np.float64)
    correct = weights @ ((predictions[:, None] == labels) & (targets[:, None] == labels)).astype(np.float64)
    present = weights @ (targets[:, None] == labels).astype(np.float64)
    precision = np.divide(correct, predicted, out=np.zeros_like(correct), where=predicted > 0)
    return precision.sum(axis=1) / ((predicted > 0) | (present > 0)).sum(axis=1)
