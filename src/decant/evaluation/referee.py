"""Does distillation pay? Arms compared over seeds and images, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decant.evaluation.tables import cell, difference, plural, short

METRIC_COLUMNS = (
    "setting", "arm", "student", "init", "seed", "steps", "views",
    "epoch_s", "wall_s", "val_accuracy", "accuracy", "nll",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "setting", "arm", "other", "primary", "seeds", "seeds_above_zero",
    "accuracy_difference", "accuracy_difference_low", "accuracy_difference_high",
    "teacher_minutes", "points_per_teacher_minute", "verdict",
)  # fmt: skip
DISTIL, DO_NOT, UNKNOWN = "distil", "do not distil", "not enough evidence"
NO_DIFFERENCE = 0.003  # of accuracy: less is not worth a teacher
FEWEST_SEEDS = 3  # before an interval over seeds is believed
RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Difference:
    """Of accuracy, in [-1, 1], with its 95 % interval. of_seeds: float [S], of each seed."""

    mean: float
    low: float
    high: float
    of_seeds: npt.NDArray[np.float64]


def paired_difference(
    correct: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], groups: npt.NDArray[np.generic], seed: int = 0
) -> Difference:
    """The difference of two arms' accuracies over the same seeds and images, by a two-level bootstrap.

    correct, other: bool [S, n], whether each seed's model is right about an image. groups: [n], equal for images that
    depend on one another. Seeds and groups are drawn independently (Davison & Hinkley 1997, section 3.8). S drawn seeds
    vary by the share (S - 1) / S too little; the seeds' deviations from their mean are scaled to mend that. One seed
    gives the uncertainty of the images alone.
    """
    seeds = len(correct)
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group).astype(np.float64)
    sums = np.stack([np.bincount(group, weights=row) for row in correct.astype(float) - other.astype(float)])  # [S, G]
    of_seeds = sums.sum(axis=1) / sizes.sum()
    centre = sums.mean(axis=0)
    spread = centre + np.sqrt(seeds / max(1, seeds - 1)) * (sums - centre)
    random = np.random.default_rng(seed)
    drawn_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds  # [R, S]
    means = np.empty(RESAMPLES)
    for number, shares in enumerate(drawn_seeds):
        drawn = random.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)))
        means[number] = (drawn @ (shares @ spread)) / (drawn @ sizes)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Difference(float(of_seeds.mean()), float(low), float(high), of_seeds)


def choice_text(choice: Mapping[str, Any]) -> str:
    """Which model is shipped and why. choice: the content of `choice.json`."""
    if choice["ship"] == "student":
        return "The study ships the student in any case; it was not compared with its twin."
    name = choice["metric"].replace("_", " ")
    model = "twin" if choice["shipped"] == "student_alone" else "student"
    values = {of: short(cell(choice["metric"], choice[of])) for of in ("student", "student_alone")}
    row = {key: cell(key, choice[key]) for key in choice if key.startswith("accuracy_difference")}
    low, high = (choice[f"accuracy_difference_{end}"] for end in ("low", "high"))
    shown = (
        "the student is better" if low > 0 else "the twin is better" if high < 0 else "neither is shown to be better"
    )
    return (
        f"Of the student and its twin, which learned from the given labels alone, the {model} is shipped: the "
        f"student's {name} on val is {values['student']}, that of its twin {values['student_alone']}. By the "
        f"difference in accuracy on the {plural(choice['n'], 'image')} of val, "
        f"{difference(row, 'accuracy_difference')}, {shown}."
    )


def verdict(difference: Difference) -> str:
    """What the difference student - student_alone says; `do not distil` also where it is too small to matter.

    More seeds are trained while the verdict is UNKNOWN. Looking again after each seed makes a wrong verdict a little
    more probable than the interval says.
    """
    if len(difference.of_seeds) < FEWEST_SEEDS:
        return UNKNOWN
    if difference.low > 0:
        return DISTIL
    if difference.high < 0 or (difference.low > -NO_DIFFERENCE and difference.high < NO_DIFFERENCE):
        return DO_NOT
    return UNKNOWN
