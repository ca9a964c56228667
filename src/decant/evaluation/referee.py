"""Does distillation pay? Arms compared over seeds and images, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from decant.evaluation.tables import cell, difference, plural, short

METRIC_COLUMNS = (
    "setting", "arm", "student", "init", "chosen", "seed", "steps", "views",
    "epoch_s", "wall_s", "val_accuracy", "accuracy", "nll",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "setting", "arm", "other", "primary", "seeds", "seeds_above_zero",
    "accuracy_difference", "accuracy_difference_low", "accuracy_difference_high", "level",
    "teacher_minutes", "points_per_teacher_minute", "verdict",
)  # fmt: skip
DISTIL, DO_NOT, UNKNOWN = "distil", "do not distil", "not enough evidence"
NO_DIFFERENCE = 0.003  # of accuracy: a smaller gain does not pay for the teachers
FEWEST_SEEDS = 3  # for a verdict from an interval over seeds
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference of accuracy, in [-1, 1], with its interval. of_seeds: float [S], of each seed."""

    mean: float
    low: float
    high: float
    of_seeds: npt.NDArray[np.float64]


def paired_difference(
    correct: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], groups: npt.NDArray[np.generic], level: float = LEVEL
) -> Difference:
    """The difference of two arms' accuracies over the same seeds and images, with an interval of that level.

    correct, other: bool [S, n], whether each seed's model is right about an image. groups: [n], equal for images that
    depend on one another. The variance of the mean is that over seeds plus that over groups, the interval is Student's
    t with the degrees of freedom of Satterthwaite (1946). A bootstrap of few seeds would be too narrow: its
    interval hardly exceeds the range from the worst to the best seed. With one seed, the interval covers only the
    uncertainty of the images.
    """
    seeds = len(correct)
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group).astype(np.float64)
    sums = np.stack([np.bincount(group, weights=row) for row in correct.astype(float) - other.astype(float)])  # [S, G]
    of_seeds = sums.sum(axis=1) / sizes.sum()
    mean, count = float(of_seeds.mean()), len(sizes)
    residuals = sums.mean(axis=0) - mean * sizes  # a ratio of sums over groups: Cochran (1977), section 9.7
    parts = [(float((residuals**2).sum()) * count / max(1, count - 1) / sizes.sum() ** 2, count - 1)]
    if seeds > 1:
        parts.append((float(of_seeds.var(ddof=1)) / seeds, seeds - 1))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / max(sum(part**2 / max(1, degrees) for part, degrees in parts), 1e-300)
    half = float(stats.t.ppf((1 + level) / 2, max(1.0, freedom))) * variance**0.5 if variance else 0.0
    return Difference(mean, mean - half, mean + half, of_seeds)


def level_of_looks(seeds: int) -> float:
    """The level of each interval so that all looks at up to `seeds` seeds together are wrong in 1 - LEVEL at most.

    The first look is after FEWEST_SEEDS; the share of wrong intervals is divided among the looks (Bonferroni).
    """
    return 1 - (1 - LEVEL) / max(1, seeds - FEWEST_SEEDS + 1)


def choice_text(choice: Mapping[str, Any]) -> str:
    """Sentences for a report: which model is shipped, and why. choice: the content of `choice.json`."""
    if choice["ship"] == "student":
        return "The study ships the student in any case; it was not compared with its twin."
    metric = choice["metric"].replace("_", " ")
    model = "twin" if choice["shipped"] == "student_alone" else "student"
    student, twin = (short(cell(choice["metric"], choice[key])) for key in ("student", "student_alone"))
    row = {key: cell(key, choice[key]) for key in choice if key.startswith("accuracy_difference")}
    low, high = (choice[f"accuracy_difference_{end}"] for end in ("low", "high"))
    conclusion = (
        "the student is better" if low > 0 else "the twin is better" if high < 0 else "neither is shown to be better"
    )
    return (
        f"Of the student and its twin, which learned from the given labels alone, the {model} is shipped: the "
        f"student's {metric} on val is {student}, that of its twin {twin}. By the "
        f"difference in accuracy on the {plural(choice['n'], 'image')} of val, "
        f"{difference(row, 'accuracy_difference')}, {conclusion}."
    )


def verdict(difference: Difference) -> str:
    """DISTIL, DO_NOT or UNKNOWN, from the difference student - student_alone; while UNKNOWN, more seeds are trained."""
    if len(difference.of_seeds) < FEWEST_SEEDS:
        return UNKNOWN
    if difference.high < NO_DIFFERENCE and difference.low > -NO_DIFFERENCE:
        return DO_NOT
    if difference.low > 0:
        return DISTIL
    return DO_NOT if difference.high < 0 else UNKNOWN
