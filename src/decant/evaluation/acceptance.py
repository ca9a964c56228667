"""Selective prediction: a prediction is accepted if its top probability and its log sum reach two thresholds.

El-Yaniv & Wiener (2010) call the precision of accepted predictions and their share the risk-coverage trade-off; the
threshold on the probability, with a bound on the risk, follows Geifman & El-Yaniv (2017). A wrong prediction for an
image like those of train has a low probability. An image that shows no class often has a high one, but a low log sum
(`decant.evaluation.energy`); results/foreign/ compares the two and both together.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from decant.evaluation.intervals import Groups
from decant.evaluation.tables import probability

CONFIDENCE = 0.95  # of the lower bound that a precision must reach on val to count as shown
KEPT = 0.95  # share of the predictions with a sufficient probability on val that have a sufficient log sum
DIGITS = 6  # of the threshold on the probability, as many as `probability` writes
LOG_SUM_DIGITS = 3  # of the threshold on the log sum
ACCEPTS_NONE = 2.0  # a threshold above every probability
ACCEPT_COLUMNS = (
    "model", "kind", "split", "n", "accept_precision", "shown", "threshold", "log_sum_threshold",
    "accepted", "share_accepted", "correct", "precision", "precision_low", "precision_high",
)  # fmt: skip

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Acceptance:
    """The thresholds of accepted predictions, and the evidence for them on val.

    threshold: the smallest top probability that is accepted; ACCEPTS_NONE if no prediction is. log_sum_threshold: the
    smallest accepted log sum. accept_precision: the precision that accepted predictions are to reach. shown:
    True if on val the lower bound `precision_low` (one-sided, CONFIDENCE) reaches it. n, accepted, correct: images of
    val. precision, precision_low: of the accepted predictions; None without any. The bound counts groups of images that
    depend on one another, not images.
    """

    threshold: float
    log_sum_threshold: float
    accept_precision: float
    shown: bool
    n: int
    accepted: int
    correct: int
    share_accepted: float
    precision: float | None
    precision_low: float | None

    def to_dict(self) -> dict[str, Any]:
        """The values for JSON; read back by `Acceptance(**values)`."""
        return asdict(self)


def choose_thresholds(
    log_probabilities: Floats,
    log_sums: Floats,
    targets: Integers,
    accept_precision: float,
    groups: Groups | None = None,
) -> Acceptance:
    """The smallest thresholds at which val shows that accepted predictions have the precision `accept_precision`.

    Val shows it if the one-sided Clopper-Pearson bound at CONFIDENCE reaches `accept_precision`. The bound is not
    corrected for the number of thresholds: in simulations (tests/evaluation/test_acceptance.py) a file whose precision
    is shown still misses it in at most 5 % of draws of val, while the smallest threshold with this precision on val
    itself misses it in about half of them. If no threshold shows it, that smallest threshold is taken and `shown` is
    False.

    The threshold on the log sum follows from the threshold on the probability: the share KEPT of the predictions with a
    sufficient probability have a sufficient log sum.

    Args:
        log_probabilities: of val, [n, K], n ≥ 1. log_sums: [n]. targets: [n] class indices.
        accept_precision: in (0, 1].
        groups: [n], equal for images that depend on one another; None: no image depends on another.
    """
    alike = images_alike(groups)
    top = _rounded_down(top_probabilities(log_probabilities), DIGITS)
    right = log_probabilities.argmax(axis=1) == targets
    thresholds, log_sum_thresholds, accepted, correct = map(
        np.array, zip(*_candidates(top, _rounded_down(log_sums, LOG_SUM_DIGITS), right), strict=True)
    )
    bounds = lower_bounds(correct / alike, accepted / alike)
    shown = bounds >= accept_precision
    reached = np.flatnonzero(shown if shown.any() else correct >= accept_precision * accepted)
    if not len(reached):
        return Acceptance(ACCEPTS_NONE, 0.0, accept_precision, False, len(top), 0, 0, 0.0, None, None)
    best = reached[-1]
    return Acceptance(
        threshold=float(thresholds[best]),
        log_sum_threshold=float(log_sum_thresholds[best]),
        accept_precision=accept_precision,
        shown=bool(shown.any()),
        n=len(top),
        accepted=int(accepted[best]),
        correct=int(correct[best]),
        share_accepted=float(accepted[best] / len(top)),
        precision=float(correct[best] / accepted[best]),
        precision_low=float(bounds[best]),
    )


def _candidates(top: Floats, log_sums: Floats, right: npt.NDArray[np.bool_]) -> Iterator[tuple[float, float, int, int]]:
    """Yield threshold, threshold on the log sum, accepted and correct, for each value of `top` from the highest."""
    order = np.argsort(-top, kind="stable")
    last_of_value = np.append(np.diff(top[order]) != 0, True)
    sums: list[float] = []
    wrong_sums: list[float] = []
    for row, is_last in zip(order.tolist(), last_of_value, strict=True):
        insort(sums, float(log_sums[row]))
        if not right[row]:
            insort(wrong_sums, float(log_sums[row]))
        if is_last:
            log_sum_threshold = sums[share_index(len(sums), KEPT)]
            accepted = len(sums) - bisect_left(sums, log_sum_threshold)
            wrong = len(wrong_sums) - bisect_left(wrong_sums, log_sum_threshold)
            yield float(top[row]), log_sum_threshold, accepted, accepted - wrong


def share_index(n: int, share: float) -> int:
    """Index, in n ascending values, of the highest threshold that at least `share` of them reach; share in (0, 1]."""
    return n - max(1, math.ceil(share * n - 1e-9))


def accept_row(
    model: str,
    kind: str,
    split: str,
    log_probabilities: Floats,
    log_sums: Floats,
    targets: Integers,
    acceptance: Acceptance,
    groups: Groups | None = None,
) -> dict[str, object]:
    """Number and precision of a split's accepted predictions; keys are ACCEPT_COLUMNS. groups: as in choose_thresholds.

    The interval is Clopper & Pearson's (1934), two-sided, 95 %; it and the precision are None if none is accepted.
    """
    alike = images_alike(groups)
    accepted = top_probabilities(log_probabilities) >= acceptance.threshold
    accepted &= log_sums >= acceptance.log_sum_threshold
    correct = int((log_probabilities.argmax(axis=1) == targets)[accepted].sum())
    count = int(accepted.sum())
    low, high = exact_interval(correct / alike, count / alike) if count else (None, None)
    return {
        "model": model,
        "kind": kind,
        "split": split,
        "n": len(targets),
        "accept_precision": acceptance.accept_precision,
        "shown": acceptance.shown,
        "threshold": probability(acceptance.threshold),
        "log_sum_threshold": f"{acceptance.log_sum_threshold:.{LOG_SUM_DIGITS}f}",
        "accepted": count,
        "share_accepted": count / len(targets),
        "correct": correct,
        "precision": correct / count if count else None,
        "precision_low": low,
        "precision_high": high,
    }


def top_probabilities(log_probabilities: Floats) -> npt.NDArray[np.float64]:
    """The highest probability of each row, [n, K] -> [n]."""
    return np.exp(np.asarray(log_probabilities, dtype=np.float64).max(axis=1))


def images_alike(groups: Groups | None) -> float:
    """How many images count as one in an interval: the mean, over images, of the size of the image's group; ≥ 1.

    It is the design effect of clusters whose images are right or wrong together (Kish 1965). Counts that are divided by
    it give an exact interval for clusters (Korn & Graubard 1998), which is wider than needed if images of a group
    differ.
    """
    if groups is None:
        return 1.0
    sizes = np.unique(groups, return_counts=True)[1]
    return float((sizes**2).sum() / sizes.sum())


def lower_bounds(
    correct: npt.ArrayLike, accepted: npt.ArrayLike, confidence: float = CONFIDENCE
) -> npt.NDArray[np.float64]:
    """One-sided lower bounds of binomial shares (Clopper & Pearson 1934) of the counts' shape; 0 if none is correct.

    Counts of clustered images are not whole numbers (`images_alike`).
    """
    correct, accepted = np.asarray(correct, dtype=np.float64), np.asarray(accepted, dtype=np.float64)
    some = np.where(correct > 0, correct, 1.0)
    return np.where(correct > 0, beta.ppf(1 - confidence, some, accepted - correct + 1), 0.0)


def exact_interval(correct: float, accepted: float) -> tuple[float, float]:
    """The two-sided 95 % interval of a binomial share (Clopper & Pearson 1934); accepted > 0."""
    one_sided = 1 - (1 - CONFIDENCE) / 2
    low = lower_bounds(correct, accepted, one_sided)
    return float(low), float(1 - lower_bounds(accepted - correct, accepted, one_sided))


def _rounded_down(values: Floats, digits: int) -> npt.NDArray[np.float64]:
    """Values rounded down: the rounding of float32 in another engine then rarely changes a decision."""
    return np.floor(np.asarray(values, dtype=np.float64) * 10**digits) / 10**digits
