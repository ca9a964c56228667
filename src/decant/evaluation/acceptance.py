"""Selective prediction: a threshold on the top probability, above which a prediction is accepted.

El-Yaniv & Wiener (2010) call the precision of accepted predictions and their share the risk-coverage trade-off; the
threshold with a bound on the risk follows Geifman & El-Yaniv (2017).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from decant.evaluation.tables import probability

CONFIDENCE = 0.95  # of the lower bound that a precision must reach on val to count as shown
DIGITS = 6  # of a threshold, as many as `probability` writes
ACCEPTS_NONE = 2.0  # a threshold above every probability
ACCEPT_COLUMNS = (
    "model", "kind", "split", "n", "accept_precision", "shown", "threshold",
    "accepted", "share_accepted", "correct", "precision", "precision_low", "precision_high",
)  # fmt: skip

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Acceptance:
    """When a prediction is accepted, and what val showed of that.

    threshold: the smallest top probability that is accepted; ACCEPTS_NONE if no prediction is. accept_precision: what
    the precision of accepted predictions is meant to reach. shown: True if on val the lower bound `precision_low`
    (one-sided, CONFIDENCE) reaches it. n, accepted, correct: images of val. precision, precision_low: of the accepted
    predictions; None without any.
    """

    threshold: float
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


def choose_threshold(log_probabilities: Floats, targets: Integers, accept_precision: float) -> Acceptance:
    """The smallest threshold at which the precision of the accepted predictions is shown to reach `accept_precision`.

    It is shown if the one-sided Clopper-Pearson bound at CONFIDENCE reaches it. The bound is not corrected for the
    number of thresholds: in simulations (tests/evaluation/test_acceptance.py) a file whose precision is shown misses it
    in at most 5 % of draws of val all the same, while the smallest threshold with such a precision on val itself misses
    it in about half of them. If no threshold shows it, that smallest threshold is taken and `shown` is False.

    Args:
        log_probabilities: of val, [n, K], n ≥ 1. targets: [n] class indices. accept_precision: in (0, 1].
    """
    top = top_probabilities(log_probabilities)
    right = log_probabilities.argmax(axis=1) == targets
    thresholds, at = np.unique(_rounded_down(top), return_inverse=True)
    accepted, correct = (np.bincount(at, weights)[::-1].cumsum()[::-1] for weights in (None, right))
    shown = lower_bounds(correct, accepted) >= accept_precision
    reached = shown if shown.any() else correct >= accept_precision * accepted
    if not reached.any():
        return Acceptance(ACCEPTS_NONE, accept_precision, False, len(top), 0, 0, 0.0, None, None)
    best = int(reached.argmax())
    return Acceptance(
        threshold=float(thresholds[best]),
        accept_precision=accept_precision,
        shown=bool(shown.any()),
        n=len(top),
        accepted=int(accepted[best]),
        correct=int(correct[best]),
        share_accepted=float(accepted[best] / len(top)),
        precision=float(correct[best] / accepted[best]),
        precision_low=float(lower_bounds(correct[best], accepted[best])),
    )


def accept_row(
    model: str, kind: str, split: str, log_probabilities: Floats, targets: Integers, acceptance: Acceptance
) -> dict[str, object]:
    """How the accepted predictions of a split do; keys are ACCEPT_COLUMNS.

    The interval is Clopper & Pearson's (1934), two-sided, 95 %; it and the precision are None if none is accepted.
    """
    accepted = top_probabilities(log_probabilities) >= acceptance.threshold
    correct = int((log_probabilities.argmax(axis=1) == targets)[accepted].sum())
    count = int(accepted.sum())
    low, high = exact_interval(correct, count) if count else (None, None)
    return {
        "model": model,
        "kind": kind,
        "split": split,
        "n": len(targets),
        "accept_precision": acceptance.accept_precision,
        "shown": acceptance.shown,
        "threshold": probability(acceptance.threshold),
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


def lower_bounds(
    correct: npt.ArrayLike, accepted: npt.ArrayLike, confidence: float = CONFIDENCE
) -> npt.NDArray[np.float64]:
    """One-sided lower bounds of binomial shares (Clopper & Pearson 1934); 0 if nothing is correct."""
    correct, accepted = np.asarray(correct, dtype=np.float64), np.asarray(accepted, dtype=np.float64)
    return np.where(correct > 0, beta.ppf(1 - confidence, np.maximum(correct, 1), accepted - correct + 1), 0.0)


def exact_interval(correct: int, accepted: int) -> tuple[float, float]:
    """The two-sided 95 % interval of a binomial share (Clopper & Pearson 1934); accepted ≥ 1."""
    one_sided = 1 - (1 - CONFIDENCE) / 2
    low = lower_bounds(correct, accepted, one_sided)
    return float(low), float(1 - lower_bounds(accepted - correct, accepted, one_sided))


def _rounded_down(probabilities: Floats) -> npt.NDArray[np.float64]:
    """To DIGITS decimals, so that an engine's rounding of float32 on another machine rarely changes a decision."""
    return np.floor(np.asarray(probabilities, dtype=np.float64) * 10**DIGITS) / 10**DIGITS
