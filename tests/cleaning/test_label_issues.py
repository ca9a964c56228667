"""Planted label errors are found, correct labels are not flagged, and unusual inputs raise no error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from decant.cleaning.label_issues import SUSPECT_COLUMNS, find_label_issues


def blobs(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return out-of-fold probabilities [600, 4], given classes and true classes of overlapping Gaussians."""
    points, true = make_blobs(600, 8, centers=4, cluster_std=3.0, random_state=seed)
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(true)) < noise
    given_classes = np.where(wrong, (true + rng.integers(1, 4, len(true))) % 4, true)
    model = LogisticRegression(max_iter=500)
    return cross_val_predict(model, points, given_classes, cv=5, method="predict_proba"), given_classes, true


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_finds_planted_errors_and_suggests_the_true_class(noise: float) -> None:
    probabilities, targets, true = blobs(noise)
    suspects = find_label_issues(probabilities, targets, np.arange(len(targets)))
    wrong = set(np.flatnonzero(targets != true))
    flagged = set(suspects["id"])
    assert len(flagged & wrong) >= 0.85 * len(wrong)
    assert len(flagged & wrong) >= 0.85 * len(flagged)
    assert (suspects["suggested"] == true[suspects["id"]]).mean() >= 0.85


def test_at_most_2_percent_are_flagged_if_all_labels_are_correct() -> None:
    probabilities, targets, _ = blobs(0.0)
    assert len(find_label_issues(probabilities, targets, np.arange(len(targets)))) <= 0.02 * len(targets)


def test_permuted_columns_make_most_labels_suspect() -> None:
    """Guards the test above: probabilities with permuted classes must not pass it."""
    probabilities, targets, _ = blobs(0.0)
    assert len(find_label_issues(probabilities[:, [1, 2, 3, 0]], targets, np.arange(len(targets)))) > 300


def test_suspects_are_sorted_and_their_confidences_are_the_probabilities() -> None:
    probabilities, targets, _ = blobs(0.2)
    suspects = find_label_issues(probabilities, targets, np.arange(len(targets)))
    rows = suspects["id"].to_numpy()
    assert suspects["self_confidence"].is_monotonic_increasing
    np.testing.assert_allclose(suspects["self_confidence"], probabilities[rows, targets[rows]], atol=1e-6)
    np.testing.assert_allclose(suspects["suggested_confidence"], probabilities[rows].max(axis=1), atol=1e-6)


def test_classes_without_any_target_are_never_suggested() -> None:
    probabilities, targets, true = blobs(0.2)
    wider = np.insert(probabilities, 2, 0.3, axis=1)  # a fifth class, probable for every row, that no target has
    suspects = find_label_issues(wider, targets + (targets >= 2), np.arange(len(targets)))
    assert 2 not in set(suspects["suggested"])
    assert len(set(suspects["id"]) & set(np.flatnonzero(targets != true))) > 60


def test_rows_without_a_label_are_never_suspects() -> None:
    probabilities, targets, _ = blobs(0.2)
    targets = targets.copy()
    targets[::3] = -1
    suspects = find_label_issues(probabilities, targets, np.arange(len(targets)))
    assert len(suspects)
    assert not set(suspects["id"]) & set(range(0, len(targets), 3))


@pytest.mark.parametrize("targets", [[], [1], [0, 0, 0], [-1, -1, 1]])
def test_fewer_than_two_classes_give_an_empty_table(targets: list[int]) -> None:
    suspects = find_label_issues(np.full((len(targets), 3), 1 / 3), np.array(targets, int), np.arange(len(targets)))
    assert suspects.empty
    assert list(suspects.columns) == SUSPECT_COLUMNS


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 12))
def test_tiny_sets_give_valid_suspects(seed: int, classes: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.2), n)
    targets = rng.integers(-1, classes, n)
    suspects = find_label_issues(probabilities, targets, np.arange(n))
    for suspect in suspects.itertuples():
        assert targets[suspect.id] >= 0
        assert suspect.suggested != targets[suspect.id]
        assert suspect.suggested in targets
