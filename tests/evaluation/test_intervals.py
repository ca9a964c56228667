"""Intervals equal SciPy's bootstrap and binomial test, and scikit-learn's scores of resampled images."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import precision_score

from decant.evaluation import intervals
from decant.evaluation.intervals import (
    COMPARISON_COLUMNS,
    _precision_macro,
    bootstrap_intervals,
    comparison_row,
    mcnemar,
)


def two_models(n: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, predictions of which at least 90 % are right, predictions of which at least 80 % are right."""
    draw = np.random.default_rng(3)
    targets = draw.integers(0, classes, n)
    good = np.where(draw.random(n) < 0.9, targets, draw.integers(0, classes, n))
    fair = np.where(draw.random(n) < 0.8, targets, draw.integers(0, classes, n))
    return targets, good, fair


def test_accuracy_interval_equals_scipys_percentile_bootstrap() -> None:
    targets, good, _ = two_models()
    low, high = bootstrap_intervals(targets, good, resamples=20_000)["accuracy"]
    expected = stats.bootstrap(
        ((targets == good).astype(float),), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.0026)  # one image of 400


def test_precision_interval_equals_a_bootstrap_of_images_scored_by_scikit_learn() -> None:
    targets, good, _ = two_models(n=60)
    draw = np.random.default_rng(5)
    scores = []
    for _ in range(1000):
        chosen = draw.integers(0, 60, 60)
        scores.append(precision_score(targets[chosen], good[chosen], average="macro", zero_division=0))
    expected = np.quantile(scores, [0.025, 0.975])
    interval = bootstrap_intervals(targets, good, resamples=20_000)["precision_macro"]
    assert interval == pytest.approx(tuple(expected), abs=0.012)


def test_precision_of_a_resample_equals_scikit_learns_even_if_a_class_is_missing() -> None:
    cells = np.array([[0, 0], [0, 1], [1, 1], [2, 0], [3, 3]])
    draws = np.array([[3, 1, 4, 2, 0], [0, 0, 5, 0, 5], [1, 0, 0, 6, 3]])
    values = _precision_macro(cells[:, 0], cells[:, 1], draws)
    for counts, value in zip(draws, values, strict=True):
        rows = np.repeat(cells, counts, axis=0)
        expected = precision_score(rows[:, 0], rows[:, 1], average="macro", zero_division=0)
        assert value == pytest.approx(expected)


def grouped() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As `two_models`, and groups of 1 to 5 images with the same target and the same predictions."""
    targets, good, fair = two_models(n=120)
    times = np.random.default_rng(7).integers(1, 6, 120)
    repeated = [np.repeat(values, times) for values in (targets, good, fair, np.arange(120))]
    return repeated[0], repeated[1], repeated[2], repeated[3]


def test_intervals_of_groups_equal_a_bootstrap_of_groups_scored_by_scikit_learn() -> None:
    targets, good, _, groups = grouped()
    draw = np.random.default_rng(5)
    rows_of = [np.flatnonzero(groups == group) for group in range(120)]
    scores = []
    for _ in range(1500):
        chosen = np.concatenate([rows_of[group] for group in draw.integers(0, 120, 120)])
        precision = precision_score(targets[chosen], good[chosen], average="macro", zero_division=0)
        scores.append([(targets[chosen] == good[chosen]).mean(), precision])
    found = bootstrap_intervals(targets, good, resamples=20_000, groups=groups)
    for name, column in (("accuracy", 0), ("precision_macro", 1)):
        expected = np.quantile(np.array(scores)[:, column], [0.025, 0.975])
        assert found[name] == pytest.approx(tuple(expected), abs=0.008), name


def test_intervals_of_groups_are_wider_also_for_differences() -> None:
    targets, good, fair, groups = grouped()

    def widths(groups: np.ndarray | None) -> list[float]:
        row = comparison_row("a", "b", "test", targets, good, fair, groups=groups)
        low, high = bootstrap_intervals(targets, good, groups=groups)["accuracy"]
        return [high - low, float(row["accuracy_difference_high"]) - float(row["accuracy_difference_low"])]

    for wide, narrow in zip(widths(groups), widths(None), strict=True):
        assert wide > 1.4 * narrow


def test_groups_of_one_image_change_nothing() -> None:
    targets, good, _ = two_models()
    names = np.array([f"image {row}" for row in range(len(targets))])
    assert bootstrap_intervals(targets, good, groups=names) == bootstrap_intervals(targets, good)


def test_groups_are_drawn_in_parts_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, good, _, groups = grouped()
    whole = bootstrap_intervals(targets, good, resamples=999, groups=groups)
    monkeypatch.setattr(intervals, "DRAWN_NUMBERS", 120 * 10)
    assert bootstrap_intervals(targets, good, resamples=999, groups=groups) == whole


def test_intervals_depend_on_the_seed_and_contain_the_value() -> None:
    targets, good, _ = two_models()
    first, second = bootstrap_intervals(targets, good), bootstrap_intervals(targets, good)
    assert first == second != bootstrap_intervals(targets, good, seed=1)
    low, high = first["accuracy"]
    assert low < (targets == good).mean() < high


def test_an_interval_shrinks_with_the_root_of_the_number_of_images() -> None:
    targets, good, _ = two_models()
    low, high = bootstrap_intervals(targets, good)["accuracy"]
    lower, higher = bootstrap_intervals(np.tile(targets, 16), np.tile(good, 16))["accuracy"]
    assert (high - low) / (higher - lower) == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 5), (1, 9), (30, 12), (0, 7), (400, 300)])
def test_mcnemar_equals_scipys_exact_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_a_comparison_counts_the_images_that_only_one_model_classifies_correctly() -> None:
    targets = np.array([0, 0, 1, 1, 2, 2])
    model, other = np.array([0, 0, 1, 1, 2, 0]), np.array([0, 1, 0, 1, 0, 2])
    row = comparison_row("student", "teacher", "test", targets, model, other)
    assert tuple(row) == COMPARISON_COLUMNS
    assert (row["only_model_right"], row["only_other_right"]) == (3, 1)
    assert row["accuracy_difference"] == pytest.approx(2 / 6)
    assert row["mcnemar_p"] == pytest.approx(stats.binomtest(1, 4).pvalue)


def test_differences_equal_scikit_learns_and_their_interval_is_a_paired_bootstrap() -> None:
    targets, good, fair = two_models()
    row = comparison_row("good", "fair", "test", targets, good, fair, resamples=20_000)
    macro = {"average": "macro", "zero_division": 0}
    expected = precision_score(targets, good, **macro) - precision_score(targets, fair, **macro)
    assert row["precision_macro_difference"] == pytest.approx(expected)
    paired = (targets == good).astype(float) - (targets == fair)
    interval = stats.bootstrap((paired,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    low_high = (row["accuracy_difference_low"], row["accuracy_difference_high"])
    assert low_high == pytest.approx(tuple(interval.confidence_interval), abs=0.004)


def test_a_model_compared_with_itself_has_an_interval_of_zero_width() -> None:
    targets, good, _ = two_models()
    row = comparison_row("good", "good", "test", targets, good, good)
    assert row["accuracy_difference_low"] == row["accuracy_difference_high"] == 0
    assert row["mcnemar_p"] == 1


def test_predictions_for_different_numbers_of_images_are_refused() -> None:
    targets, good, fair = two_models()
    with pytest.raises(ValueError, match="the same 400 images"):
        comparison_row("good", "fair", "test", targets, good, fair[:-1])
