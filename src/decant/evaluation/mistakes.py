"""A model's wrong predictions, worst first, and the classes that it confuses most."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction. row: of the image. label, predicted: class indices. probability: of the predicted class."""

    row: int
    label: int
    predicted: int
    probability: float


def mistakes(log_probabilities: Floats, targets: Integers) -> list[Mistake]:
    """All wrong predictions, those with the highest probability first.

    log_probabilities: [n, K], natural logarithms. targets: [n], class indices in [0, K).
    """
    predicted = log_probabilities.argmax(axis=1)
    rows = np.flatnonzero(predicted != targets)
    top = np.exp(log_probabilities[rows, predicted[rows]].astype(np.float64))
    order = np.lexsort((rows, -top))
    return [
        Mistake(int(row), int(targets[row]), int(predicted[row]), float(probability))
        for row, probability in zip(rows[order], top[order], strict=True)
    ]


def commonest_confusions(mistakes: list[Mistake], pairs: int) -> list[list[Mistake]]:
    """The `pairs` commonest pairs of label and prediction, each with its mistakes; the commonest pair first.

    Within a pair, the mistakes nearest to its median probability come first: they are typical of it.
    """
    counts = Counter((mistake.label, mistake.predicted) for mistake in mistakes)
    commonest = sorted(counts, key=lambda pair: (-counts[pair], pair))[:pairs]
    return [
        typical_first([mistake for mistake in mistakes if (mistake.label, mistake.predicted) == pair])
        for pair in commonest
    ]


def typical_first(mistakes: list[Mistake]) -> list[Mistake]:
    """The mistakes, those nearest to the median probability first."""
    median = float(np.median([mistake.probability for mistake in mistakes]))
    return sorted(mistakes, key=lambda mistake: (abs(mistake.probability - median), mistake.row))
