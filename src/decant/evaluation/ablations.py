"""The effect of a change on a training: paired differences over seeds, with an interval."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

ABLATION_COLUMNS = ("study", "change", "seed", "minutes", "val_accuracy", "val_nll", "test_accuracy")
EFFECT_COLUMNS = (
    "study", "change", "seeds",
    "val_accuracy", "val_accuracy_difference", "val_accuracy_difference_low", "val_accuracy_difference_high",
    "val_nll", "val_nll_difference", "val_nll_difference_low", "val_nll_difference_high",
)  # fmt: skip
TRAINING = ("study", "change", "seed")  # the columns that name a training
MEASURES = ("val_accuracy", "val_nll")
LEVEL = 0.95


def effect_rows(rows: Sequence[Mapping[str, object]], unchanged: str) -> list[dict[str, object]]:
    """One row of `effects.csv` per study and change; its keys are EFFECT_COLUMNS, in order.

    A difference is the mean over the seeds of the value with the change minus the value without it, of the same seed.

    Args:
        rows: of `ablations.csv`, numbers as numbers or as text.
        unchanged: the change of the trainings to compare with.
    """
    row_of = {(row["study"], row["change"], str(row["seed"])): row for row in rows}
    effects = []
    for study, change in dict.fromkeys((row["study"], row["change"]) for row in rows):
        of_change = [seed for *study_and_change, seed in row_of if study_and_change == [study, change]]
        seeds = [seed for seed in of_change if (study, unchanged, seed) in row_of]
        effect: dict[str, object] = {"study": study, "change": change, "seeds": len(seeds)}
        for measure in MEASURES:
            with_change, without_change = (
                np.array([float(str(row_of[study, name, seed][measure])) for seed in seeds])
                for name in (change, unchanged)
            )
            differences = with_change - without_change if change != unchanged else np.array([])
            mean, low, high = mean_with_interval(differences)
            effect |= {
                measure: float(with_change.mean()) if seeds else None,
                f"{measure}_difference": mean,
                f"{measure}_difference_low": low,
                f"{measure}_difference_high": high,
            }
        effects.append(effect)
    return effects


def mean_with_interval(values: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Mean, and the ends of its 95 % interval by Student's t (Student 1908).

    values: float [n], differences that are roughly normal. The ends are None for one value, all three without values.
    """
    if len(values) == 0:
        return None, None, None
    mean = float(values.mean())
    if len(values) == 1:
        return mean, None, None
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half
