"""Ways of pooling compared on val: nested fits, intervals of groups, contributions, diversity."""

import numpy as np
import pytest
from scipy.special import log_softmax

from decant.ensemble.comparison import (
    CONTRIBUTION_COLUMNS,
    DIVERSITY_COLUMNS,
    FOLDS,
    POOLING_COLUMNS,
    best_method,
    can_be_nested,
    contribution_rows,
    diversity_rows,
    nested,
    pooling_rows,
    row_nll,
)
from decant.ensemble.pooling import METHODS, fit_pool
from decant.evaluation.intervals import mean_interval_of_groups

N, K = 600, 5


def simulated(skills: dict[str, float], seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Teachers with logits skill * one-hot label + noise, the labels, and groups of two images."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, K, N)
    members = {
        name: log_softmax(skill * np.eye(K)[targets] + random.normal(size=(N, K)), axis=1)
        for name, skill in skills.items()
    }
    return members, targets, np.arange(N) // 2


def test_no_image_is_predicted_by_a_pool_that_was_fitted_to_its_group() -> None:
    members, targets, groups = simulated({"a": 2.0, "b": 1.0})
    values = list(members.values())
    found = nested(values, targets, groups, "convex")
    changed = targets.copy()
    changed[groups == 7] = (changed[groups == 7] + 1) % K
    again = nested(values, changed, groups, "convex")
    np.testing.assert_array_equal(again[groups == 7], found[groups == 7])
    assert (np.abs(again - found).max(axis=1) > 0).mean() > 0.5  # the pools of the other folds saw the change


def test_a_nested_pool_is_worse_than_one_that_was_fitted_to_all_of_val() -> None:
    members, targets, groups = simulated({f"t{i}": 0.3 for i in range(12)}, seed=3)
    values = list(members.values())
    fitted = row_nll(fit_pool(values, targets, "convex").of(values), targets).mean()
    assert row_nll(nested(values, targets, groups, "convex"), targets).mean() > fitted


def test_the_rows_have_each_teacher_and_each_method() -> None:
    val = simulated({"good": 3.0, "poor": 0.5})
    rows = pooling_rows(*val, "convex")
    assert [row["model"] for row in rows] == ["good", "poor", *METHODS]
    assert all(tuple(row) == POOLING_COLUMNS for row in rows)
    by_name = {row["model"]: row for row in rows}
    assert by_name["convex"]["chosen"] and by_name["convex"]["val_nll_difference"] is None
    poor = by_name["poor"]
    assert poor["val_nll_difference"] == pytest.approx(float(poor["val_nll"]) - float(by_name["convex"]["val_nll"]))
    assert 0 < poor["val_nll_difference_low"] < poor["val_nll_difference"] < poor["val_nll_difference_high"]


def test_auto_prefers_log_linear_where_errors_are_independent() -> None:
    """With independent noise the product of likelihoods is the best pool; a mean of probabilities is too uncertain."""
    val = simulated({"a": 1.5, "b": 1.5, "c": 1.5})
    assert best_method(*val) == "log_linear"


def test_a_teacher_that_adds_nothing_has_no_gain() -> None:
    members, targets, groups = simulated({"good": 2.0, "other": 2.0})
    members["copy"] = members["good"]
    members["noise"] = simulated({"noise": 0.0}, seed=9)[0]["noise"]
    rows = {
        str(row["teacher"]): row for row in contribution_rows(members, targets, groups, "convex", [0.4, 0.4, 0.2, 0.0])
    }
    assert all(tuple(row) == CONTRIBUTION_COLUMNS for row in rows.values())
    assert float(str(rows["other"]["gain_low"])) > 0.01
    for name in ("copy", "noise"):
        assert abs(float(str(rows[name]["gain"]))) < 0.005


def test_diversity_by_hand() -> None:
    targets = np.array([0, 0, 1, 1])
    answers = {"a": [0, 0, 1, 0], "b": [0, 1, 1, 0], "right": [0, 0, 1, 1]}
    members = {name: np.log(np.eye(2)[classes] + 1e-3) for name, classes in answers.items()}
    rows = {(row["teacher"], row["other"]): row for row in diversity_rows(members, targets)}
    assert all(tuple(row) == DIVERSITY_COLUMNS for row in rows.values())
    pair = rows["a", "b"]
    assert (pair["agreement"], pair["both_wrong"]) == (0.75, 0.25)
    assert pair["error_correlation"] == pytest.approx(np.corrcoef([0, 0, 0, 1], [0, 1, 0, 1])[0, 1])
    assert rows["a", "right"]["error_correlation"] is None


def test_val_needs_labels_and_as_many_groups_as_folds() -> None:
    targets = np.zeros(10, dtype=int)
    assert can_be_nested(targets, np.arange(10))
    assert not can_be_nested(targets, np.arange(10) % (FOLDS - 1))
    assert not can_be_nested(targets[:0], np.arange(0))


def test_the_interval_of_groups_is_that_of_the_group_means_and_wider_than_that_of_images() -> None:
    random = np.random.default_rng(0)
    per_group = random.normal(size=50)
    values, groups = np.repeat(per_group, 20), np.repeat(np.arange(50), 20)
    low, high = mean_interval_of_groups(values, groups, resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * per_group.std() / np.sqrt(50), rel=0.1)
    apart_low, apart_high = mean_interval_of_groups(values, np.arange(1000))
    assert high - low > 3 * (apart_high - apart_low)
