"""The threshold for accepting predictions, against scipy's exact intervals and against simulated data."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from decant.evaluation.acceptance import (
    ACCEPT_COLUMNS,
    ACCEPTS_NONE,
    Acceptance,
    accept_row,
    choose_thresholds,
    exact_interval,
    images_alike,
    lower_bounds,
)

Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]


def predictions(top: np.ndarray, right: np.ndarray, log_sums: np.ndarray | None = None) -> Labelled:
    """Log-probabilities [n, 2] of class 0 with these highest probabilities, log sums (default: all equal), and targets
    that make them right.
    """
    probabilities = np.stack([top, 1 - top], axis=1)
    log_probabilities = np.log(np.maximum(probabilities, 1e-30)).astype(np.float32)
    return log_probabilities, np.ones(len(top)) if log_sums is None else log_sums, np.where(right, 0, 1)


def drawn(n: int, seed: int) -> Labelled:
    """Calibrated predictions of two classes: a share of them equal to the highest probability is right. The log sums
    grow with the probability, with noise.
    """
    generator = np.random.default_rng(seed)
    top = 0.5 + 0.5 * generator.beta(3, 0.6, n)
    right = generator.random(n) < top
    return predictions(top, right, np.log(top / (1 - top + 1e-3)) + generator.normal(size=n))


@pytest.mark.parametrize(("correct", "accepted"), [(0, 1), (1, 1), (3, 7), (58, 60), (59, 59), (400, 500)])
def test_bounds_are_those_of_scipy(correct: int, accepted: int) -> None:
    one_sided = binomtest(correct, accepted, alternative="greater").proportion_ci(0.95, "exact")
    assert lower_bounds(correct, accepted) == pytest.approx(one_sided.low)
    two_sided = binomtest(correct, accepted).proportion_ci(0.95, "exact")
    assert exact_interval(correct, accepted) == pytest.approx((two_sided.low, two_sided.high))


def test_the_threshold_is_the_smallest_with_a_sufficient_bound() -> None:
    log_probabilities, _, targets = drawn(600, seed=1)
    chosen = choose_thresholds(log_probabilities, np.ones(600), targets, 0.9)  # equal log sums are all accepted
    top = np.exp(log_probabilities.astype(np.float64)).max(axis=1)
    right = log_probabilities.argmax(axis=1) == targets
    sufficient = [
        threshold
        for threshold in np.floor(top * 1e6) / 1e6
        if binomtest(int(right[top >= threshold].sum()), int((top >= threshold).sum()), alternative="greater")
        .proportion_ci(0.95, "exact")
        .low
        >= 0.9
    ]
    assert chosen.shown and chosen.threshold == pytest.approx(min(sufficient), abs=1e-9)
    assert chosen.accepted == (top >= chosen.threshold).sum() and chosen.correct == right[top >= chosen.threshold].sum()
    assert chosen.precision == pytest.approx(chosen.correct / chosen.accepted)
    assert chosen.share_accepted == pytest.approx(chosen.accepted / 600)


def test_fifty_eight_right_predictions_are_too_few_to_show_a_precision_of_95_percent() -> None:
    """0.95 ** 59 is below 5 %, and 0.95 ** 58 is not."""
    top = np.linspace(0.6, 0.99, 59)
    few = choose_thresholds(*predictions(top[:58], np.ones(58, bool)), 0.95)
    assert not few.shown and few.accepted == 58 and few.precision == 1
    assert choose_thresholds(*predictions(top, np.ones(59, bool)), 0.95).shown


def test_the_log_sum_refuses_a_twentieth_of_the_predictions_with_a_sufficient_probability() -> None:
    log_probabilities, log_sums, targets = drawn(600, seed=2)
    chosen = choose_thresholds(log_probabilities, log_sums, targets, 0.9)
    sufficient = np.exp(log_probabilities.astype(np.float64)).max(axis=1) >= chosen.threshold
    accepted = sufficient & (log_sums >= chosen.log_sum_threshold)
    assert chosen.accepted == accepted.sum() == np.ceil(0.95 * sufficient.sum())
    assert chosen.correct == (log_probabilities.argmax(axis=1) == targets)[accepted].sum()
    assert chosen.shown and chosen.precision_low == lower_bounds(chosen.correct, chosen.accepted)


def test_without_a_bound_the_smallest_threshold_with_that_precision_on_val_is_taken() -> None:
    chosen = choose_thresholds(*predictions(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, True, False])), 0.75)
    assert (chosen.shown, chosen.threshold, chosen.accepted) == (False, pytest.approx(0.6, abs=2e-6), 4)


def test_no_prediction_is_accepted_if_the_highest_probabilities_are_wrong() -> None:
    labelled = predictions(np.array([0.9, 0.8, 0.7]), np.array([False, True, True]))
    chosen = choose_thresholds(*labelled, 0.95)
    assert (chosen.threshold, chosen.shown, chosen.accepted) == (ACCEPTS_NONE, False, 0)
    row = accept_row("m", "student_onnx", "val", *labelled, chosen)
    assert row["accepted"] == 0 and row["precision"] is None and row["precision_low"] is None


def test_equal_probabilities_are_accepted_together() -> None:
    labelled = predictions(np.array([0.9] * 40 + [0.7] * 2), np.array([True] * 40 + [True, False]))
    assert choose_thresholds(*labelled, 0.97).accepted in (40, 42)


def test_a_shown_precision_is_missed_in_few_draws_of_val_and_the_point_estimate_in_many() -> None:
    future, future_sums, targets = drawn(50_000, seed=0)
    top, right = np.exp(future.max(axis=1)), future.argmax(axis=1) == targets
    missed = {"bound": 0, "point": 0}
    for seed in range(200):
        val = drawn(300, seed=seed + 1)
        chosen = choose_thresholds(*val, 0.95)
        accepted = (top >= chosen.threshold) & (future_sums >= chosen.log_sum_threshold)
        missed["bound"] += chosen.shown and right[accepted].mean() < 0.95
        order = np.argsort(-val[0].max(axis=1))
        precision = np.cumsum((val[0].argmax(axis=1) == val[2])[order]) / np.arange(1, 301)
        last = np.flatnonzero(precision >= 0.95).max()
        smallest = float(np.exp(val[0].max(axis=1)[order][last]))
        missed["point"] += right[top >= smallest].mean() < 0.95
    assert missed["bound"] <= 200 * 0.08  # 5 %, and room for 200 draws
    assert missed["point"] >= 200 * 0.35


def test_images_that_are_alike_count_as_one() -> None:
    """59 right predictions of different images show a precision of 95 %; of pairs of near duplicates, 118 do."""
    top, pairs = np.linspace(0.6, 0.99, 118), np.arange(118) // 2
    labelled = predictions(top, np.ones(118, bool))
    assert images_alike(pairs) == 2 and images_alike(None) == images_alike(np.arange(9)) == 1
    assert images_alike(np.array(["a", "a", "a", "b"])) == 2.5
    chosen = choose_thresholds(*labelled, 0.95, pairs)
    assert chosen.shown and chosen.precision_low == lower_bounds(59, 59)
    assert not choose_thresholds(*(values[:116] for values in labelled), 0.95, pairs[:116]).shown
    row = accept_row("m", "student_onnx", "test", *labelled, chosen, pairs)
    assert (row["precision_low"], row["precision_high"]) == exact_interval(59, 59) and row["accepted"] == 118


def test_a_shown_precision_of_groups_is_missed_in_few_draws_of_val() -> None:
    future, future_sums, targets = drawn(50_000, seed=0)
    top, right = np.exp(future.max(axis=1)), future.argmax(axis=1) == targets
    missed = {"groups": 0, "images": 0}
    for seed in range(200):
        val, groups = [np.repeat(values, 4, axis=0) for values in drawn(150, seed=seed + 1)], np.arange(600) // 4
        for counted, of in (("groups", groups), ("images", None)):
            chosen = choose_thresholds(*val, 0.95, of)
            accepted = (top >= chosen.threshold) & (future_sums >= chosen.log_sum_threshold)
            missed[counted] += chosen.shown and right[accepted].mean() < 0.95
    assert missed["groups"] <= 200 * 0.08
    assert missed["images"] >= 200 * 0.15


def test_a_row_counts_the_accepted_predictions_of_a_split() -> None:
    acceptance = Acceptance(0.75, 2.0, 0.9, True, 10, 8, 8, 0.8, 1.0, 0.7)
    top, log_sums = np.array([0.9, 0.8, 0.76, 0.7, 0.9]), np.array([3.0, 2.0, 2.5, 3.0, 1.9])
    labelled = predictions(top, np.array([True, False, True, True, True]), log_sums)
    row = accept_row("student_onnx", "student_onnx", "test", *labelled, acceptance)
    assert tuple(row) == ACCEPT_COLUMNS
    assert (row["n"], row["accepted"], row["correct"], row["share_accepted"]) == (5, 3, 2, 0.6)
    assert (row["precision"], row["threshold"]) == (pytest.approx(2 / 3), "0.750000")
    assert row["log_sum_threshold"] == "2.000"


def test_json_holds_all_of_it() -> None:
    chosen = choose_thresholds(*drawn(50, seed=3), 0.95)
    assert Acceptance(**json.loads(json.dumps(chosen.to_dict()))) == chosen
