"""Effects of changes: paired by seed, with Student's interval, worked by hand."""

import numpy as np
import pytest

from decant.evaluation.ablations import EFFECT_COLUMNS, effect_rows, mean_with_interval


def row(change: str, seed: int, accuracy: float, nll: float = 0.5, study: str = "cars") -> dict[str, object]:
    return {"study": study, "change": change, "seed": seed, "val_accuracy": accuracy, "val_nll": nll}


def test_the_interval_is_students() -> None:
    # Student's t for 2 degrees of freedom and 95 % is 4.303 (any table); the standard error is 0.02 / sqrt(3).
    mean, low, high = mean_with_interval(np.array([0.01, 0.03, 0.05]))
    assert mean == pytest.approx(0.03)
    assert low is not None and high is not None
    assert high - mean == pytest.approx(4.303 * 0.02 / 3**0.5, rel=1e-3)
    assert mean - low == pytest.approx(high - mean)


def test_one_seed_has_a_difference_and_no_interval() -> None:
    assert mean_with_interval(np.array([0.02])) == (pytest.approx(0.02), None, None)
    assert mean_with_interval(np.array([])) == (None, None, None)


def test_differences_are_paired_by_seed() -> None:
    rows = [row("none", seed, accuracy) for seed, accuracy in enumerate((0.5, 0.9, 0.7))]
    rows += [row("more epochs", seed, accuracy) for seed, accuracy in ((2, 0.71), (0, 0.51), (1, 0.91))]
    effect = effect_rows(rows, "none")[1]
    assert tuple(effect) == EFFECT_COLUMNS
    assert effect["val_accuracy_difference"] == pytest.approx(0.01)
    # The accuracies differ by 0.4 between seeds, the differences not at all.
    assert effect["val_accuracy_difference_low"] == pytest.approx(0.01)


def test_a_seed_without_its_partner_is_left_out() -> None:
    rows = [row("none", 0, 0.5), row("crop", 0, 0.4), row("crop", 1, 0.0)]
    effect = effect_rows(rows, "none")[1]
    assert (effect["seeds"], effect["val_accuracy"]) == (1, pytest.approx(0.4))
    assert effect["val_accuracy_difference"] == pytest.approx(-0.1)


def test_studies_are_compared_with_their_own_unchanged_trainings() -> None:
    rows = [
        row("none", 0, 0.5),
        row("crop", 0, 0.6),
        row("none", 0, 0.9, study="cifar"),
        row("crop", 0, 0.8, study="cifar"),
    ]
    found = {
        (effect["study"], effect["change"]): effect["val_accuracy_difference"] for effect in effect_rows(rows, "none")
    }
    assert found[("cars", "crop")] == pytest.approx(0.1)
    assert found[("cifar", "crop")] == pytest.approx(-0.1)
    assert found[("cars", "none")] is None


def test_cells_of_a_table_are_read_as_numbers() -> None:
    rows = [{**row("none", 0, 0.0), "val_accuracy": "0.5000"}, {**row("crop", 0, 0.0), "val_accuracy": "0.7500"}]
    assert effect_rows(rows, "none")[1]["val_accuracy_difference"] == pytest.approx(0.25)
