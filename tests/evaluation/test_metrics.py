"""Metrics equal scikit-learn's and calibration errors computed by hand."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from decant.evaluation.metrics import (
    NEAR_DUPLICATE_COLUMNS,
    PER_CLASS_COLUMNS,
    PRECISION_COLUMNS,
    RELIABILITY_COLUMNS,
    SOFT_LABEL_COLUMNS,
    class_count_rows,
    confusion,
    confusion_rows,
    expected_calibration_error,
    mean_average_precision,
    near_duplicate_rows,
    negative_log_likelihood,
    per_class_rows,
    precision_row,
    reliability_rows,
    soft_label_row,
)


def predictions_of_a_model(n: int = 300, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities float32 [n, classes] and targets [n] of a model with mostly correct predictions."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, classes, n)
    logits = draw.normal(size=(n, classes)) + 2 * np.eye(classes)[targets]
    return log_softmax(logits, axis=1).astype(np.float32), targets


def test_a_row_has_the_columns_in_their_order() -> None:
    log_probabilities, targets = predictions_of_a_model()
    row = precision_row("lite0", "teacher", "test", log_probabilities, targets, log_probabilities)
    assert tuple(row) == PRECISION_COLUMNS
    assert " ".join(PRECISION_COLUMNS[:12]) == (
        "model kind split n accuracy precision_macro recall_macro f1_macro map_macro nll ece agreement_with_ensemble"
    )


def test_macro_scores_equal_scikit_learns() -> None:
    log_probabilities, targets = predictions_of_a_model()
    row = precision_row("lite0", "teacher", "test", log_probabilities, targets)
    predictions = log_probabilities.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    assert row["accuracy"] == accuracy_score(targets, predictions)
    assert row["precision_macro"] == precision_score(targets, predictions, **macro)
    assert row["recall_macro"] == recall_score(targets, predictions, **macro)
    assert row["f1_macro"] == f1_score(targets, predictions, **macro)
    one_hot = np.eye(5)[targets]
    assert row["map_macro"] == pytest.approx(average_precision_score(one_hot, np.exp(log_probabilities)))
    assert row["nll"] == pytest.approx(log_loss(targets, np.exp(log_probabilities)), rel=1e-5)


def test_a_class_without_images_is_left_out_of_average_precision() -> None:
    log_probabilities, targets = predictions_of_a_model()
    targets = np.where(targets == 4, 0, targets)
    expected = np.mean([average_precision_score(targets == k, log_probabilities[:, k]) for k in range(4)])
    assert mean_average_precision(log_probabilities, targets) == pytest.approx(expected)


def test_a_class_that_is_never_predicted_counts_zero_without_a_warning() -> None:
    log_probabilities = np.log(np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]))
    row = precision_row("m", "student", "test", log_probabilities, np.array([0, 0, 1]))
    assert row["precision_macro"] == pytest.approx((2 / 3 + 0) / 2)  # class 2 occurs nowhere
    assert row["recall_macro"] == pytest.approx(0.5)


def test_calibration_error_equals_a_computation_by_hand() -> None:
    # Two predictions at 0.9 (one right) and two at 0.6 (both right): (2·|0.5−0.9| + 2·|1−0.6|) / 4 = 0.4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert expected_calibration_error(np.log(probabilities), np.array([0, 1, 0, 1])) == pytest.approx(0.4)


def test_over_and_under_confidence_cancel_within_a_bin_but_not_between_bins() -> None:
    # In one bin the two cancel: confidence 0.9 and 0.91, one right of two, |0.5 − 0.905| = 0.405.
    probabilities = np.array([[0.9, 0.1], [0.91, 0.09]])
    assert expected_calibration_error(np.log(probabilities), np.array([0, 1]), bins=5) == pytest.approx(0.405)
    # With 100 bins each is in its own bin: (|1 − 0.9| + |0 − 0.91|) / 2 = 0.505.
    assert expected_calibration_error(np.log(probabilities), np.array([0, 1]), bins=100) == pytest.approx(0.505)


def test_calibration_bins_include_their_upper_edge() -> None:
    probabilities = np.array([[0.5, 0.5], [1.0, 1e-30]])
    rows = reliability_rows("m", "student", "test", np.log(probabilities), np.array([0, 0]), bins=2)
    assert [row["n"] for row in rows] == [1, 1]  # 0.5 belongs to (0, 0.5], 1.0 to (0.5, 1]
    assert tuple(rows[0]) == RELIABILITY_COLUMNS


def test_reliability_rows_add_up_to_the_calibration_error() -> None:
    log_probabilities, targets = predictions_of_a_model()
    rows = [r for r in reliability_rows("m", "student", "test", log_probabilities, targets) if r["n"]]
    total = sum(r["n"] * abs(r["accuracy"] - r["confidence"]) for r in rows) / len(targets)
    assert total == pytest.approx(expected_calibration_error(log_probabilities, targets))


def test_an_underflowed_probability_leaves_the_likelihood_finite() -> None:
    with np.errstate(divide="ignore"):
        log_probabilities = np.log(np.array([[1.0, 0.0]], dtype=np.float32))
    assert negative_log_likelihood(log_probabilities, np.array([1])) == pytest.approx(87.34, abs=0.01)


def test_agreement_is_the_share_of_equal_predictions() -> None:
    log_probabilities, targets = predictions_of_a_model(4)
    ensemble = log_probabilities.copy()
    ensemble[0] = np.roll(ensemble[0], 1)
    row = precision_row("m", "student", "test", log_probabilities, targets, ensemble)
    assert row["agreement_with_ensemble"] == 0.75
    assert precision_row("m", "student", "test", log_probabilities, targets)["agreement_with_ensemble"] is None


@pytest.mark.parametrize("wrong", ["logits", "probabilities"])
def test_logits_or_probabilities_are_refused_as_log_probabilities(wrong: str) -> None:
    log_probabilities, targets = predictions_of_a_model()
    given = log_probabilities * 3 + 1 if wrong == "logits" else np.exp(log_probabilities)
    with pytest.raises(ValueError, match="must be log-probabilities"):
        precision_row("m", "student", "test", given, targets)


@pytest.mark.parametrize(("targets", "message"), [([0, -1], "unlabelled"), ([0, 9], "must be in"), ([], "n ≥ 1")])
def test_targets_that_do_not_fit_are_refused(targets: list[int], message: str) -> None:
    log_probabilities, _ = predictions_of_a_model(len(targets))
    with pytest.raises(ValueError, match=message):
        precision_row("m", "student", "test", log_probabilities, np.array(targets, dtype=np.int64))


def test_an_unknown_kind_is_refused() -> None:
    log_probabilities, targets = predictions_of_a_model()
    with pytest.raises(ValueError, match="teacher, ensemble"):
        precision_row("m", "pupil", "test", log_probabilities, targets)


def test_confusion_has_targets_as_rows() -> None:
    log_probabilities = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]))
    assert confusion(log_probabilities, np.array([1, 0, 1])).tolist() == [[1, 0], [1, 1]]


def test_confusion_rows_have_distinct_columns_even_for_a_class_named_target() -> None:
    rows = confusion_rows(np.array([[3, 1], [0, 2]]), ["target", "van"])
    assert rows[0] == {"target": "0 target", "0 target": 3, "1 van": 1}


def test_per_class_rows_equal_scikit_learns_and_have_empty_cells_for_missing_classes() -> None:
    log_probabilities, targets = predictions_of_a_model()
    targets = np.where(targets == 4, 0, targets)
    rows = per_class_rows("m", "student", "test", log_probabilities, targets, list("abcde"))
    predictions = log_probabilities.argmax(axis=1)
    expected = precision_score(targets, predictions, labels=range(5), average=None, zero_division=0)
    assert [row["precision"] for row in rows] == expected.tolist()
    assert tuple(rows[0]) == PER_CLASS_COLUMNS
    assert rows[4]["n"] == 0 and rows[4]["recall"] is None and np.isnan(rows[4]["average_precision"])
    assert sum(row["n"] for row in rows) == sum(row["predicted"] for row in rows) == 300


def test_class_counts_include_unlabelled_images() -> None:
    rows = class_count_rows(["train", "train", "test", "predict"], ["car", "car", "van", None])
    assert rows == [
        {"split": "predict", "class": "", "images": 1},
        {"split": "test", "class": "van", "images": 1},
        {"split": "train", "class": "car", "images": 2},
    ]


def test_accuracy_is_computed_separately_with_and_without_duplicates() -> None:
    # Six images; the second and the last are wrong; the first two have duplicates in train.
    log_probabilities = np.log(np.array([[0.8, 0.2]] * 6))
    targets, repeated = np.array([0, 1, 0, 0, 0, 1]), np.array([True] * 2 + [False] * 4)
    rows = near_duplicate_rows("m", "student", "test", log_probabilities, targets, repeated, (4, 1))
    assert tuple(rows[0]) == NEAR_DUPLICATE_COLUMNS
    by_subset = {row["subset"]: (row["n"], row["accuracy"], row["train_set_aside"], row["train_kept"]) for row in rows}
    assert by_subset == {
        "all": (6, pytest.approx(4 / 6), 4, 1),
        "with_duplicate": (2, 0.5, 4, 1),
        "without_duplicate": (4, 0.75, 0, 0),
    }


def test_the_interval_of_a_subset_comes_from_its_own_images() -> None:
    log_probabilities, targets = predictions_of_a_model()
    whole = precision_row("m", "student", "test", log_probabilities, targets)
    repeated = np.arange(300) < 40
    every, some, _ = near_duplicate_rows("m", "student", "test", log_probabilities, targets, repeated, (40, 0))
    part = precision_row("m", "student", "test", log_probabilities[:40], targets[:40])
    for name in ("accuracy", "accuracy_low", "accuracy_high"):
        assert every[name] == whole[name]
        assert some[name] == part[name]


@pytest.mark.parametrize(("flag", "empty"), [(False, "with_duplicate"), (True, "without_duplicate")])
def test_a_subset_without_images_has_empty_cells(flag: bool, empty: str) -> None:
    log_probabilities, targets = predictions_of_a_model(20)
    rows = near_duplicate_rows("m", "student", "val", log_probabilities, targets, np.full(20, flag), (0, 0))
    (row,) = [row for row in rows if row["subset"] == empty]
    assert row["n"] == 0 and row["accuracy"] is row["accuracy_low"] is row["accuracy_high"] is None


@pytest.mark.parametrize("repeated", [np.zeros(19, bool), np.zeros(20, np.int64)])
def test_duplicate_flags_of_another_shape_or_dtype_are_refused(repeated: np.ndarray) -> None:
    log_probabilities, targets = predictions_of_a_model(20)
    with pytest.raises(ValueError, match="repeated must be bool"):
        near_duplicate_rows("m", "student", "val", log_probabilities, targets, repeated, (0, 0))


def test_soft_labels_are_counted_over_all_views() -> None:
    first = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]), np.array([0, 2])
    second = np.array([[0.0, 0.0, 1.0]]), np.array([2])
    row = soft_label_row("ensemble", "ensemble", [first, second])
    assert tuple(row) == SOFT_LABEL_COLUMNS
    assert (row["views"], row["n"]) == (2, 3)
    assert row["accuracy"] == pytest.approx(2 / 3) and row["probability"] == pytest.approx((0.7 + 0.4 + 1) / 3)


def test_soft_labels_without_an_unmixed_view_have_empty_cells() -> None:
    row = soft_label_row("m", "teacher", [(np.empty((0, 3)), np.empty(0, dtype=int))])
    assert (row["views"], row["n"], row["accuracy"], row["probability"]) == (1, 0, None, None)
