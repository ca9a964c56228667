"""The scores of foreign images, worked out again by hand."""

import numpy as np
import pytest

from decant.evaluation.energy import log_sums
from decant.evaluation.foreign import (
    FOREIGN_COLUMNS,
    foreign_row,
    neighbour_score,
    threshold_at,
    top_probability,
)

RNG = np.random.default_rng(0)


def test_the_energy_is_the_logarithm_of_summed_exponentials() -> None:
    logits = RNG.normal(size=(5, 4))
    np.testing.assert_allclose(log_sums(logits), np.log(np.exp(logits).sum(axis=1)))
    assert np.isfinite(log_sums(np.array([[1000.0, 0.0]]))).all()


def test_the_energy_tells_images_apart_whose_probabilities_are_equal() -> None:
    logits = np.array([[5.0, 1.0], [9.0, 5.0]])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    first, second = top_probability(probabilities)
    assert first == pytest.approx(second)
    assert log_sums(logits)[1] > log_sums(logits)[0]


@pytest.mark.parametrize("neighbours", [1, 3, 99])
def test_the_neighbour_score_is_the_distance_of_unit_vectors(neighbours: int) -> None:
    features, train = RNG.normal(size=(6, 3)), RNG.normal(size=(20, 3))
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, train)]
    distances = np.sort(np.linalg.norm(units[0][:, None] - units[1][None], axis=2), axis=1)
    expected = -distances[:, min(neighbours, 20) - 1]
    np.testing.assert_allclose(neighbour_score(features, train, neighbours), expected, atol=1e-7)
    np.testing.assert_allclose(neighbour_score(7 * features, train, neighbours), expected, atol=1e-7)


@pytest.mark.parametrize(("share", "accepted"), [(1.0, 20), (0.95, 19), (0.5, 10), (0.01, 1)])
def test_a_threshold_accepts_its_share_of_val(share: float, accepted: int) -> None:
    val = RNG.permutation(20).astype(np.float64)
    assert (val >= threshold_at(val, share)).sum() == accepted


def test_a_row_counts_refusals_at_the_share_of_val_and_pairs_for_the_auroc() -> None:
    val, test, foreign = np.arange(10.0), np.array([3.0, 6.0, 8.0]), np.array([1.0, 5.0, 7.0, 2.0])
    right = np.array([True, True, False])
    row = foreign_row("energy", {"val": val, "test": test, "foreign": foreign}, right, 0.5)  # the threshold is 5
    assert tuple(row) == FOREIGN_COLUMNS[2:]
    assert (row["share_val"], row["share_test"], row["refused"]) == (0.5, pytest.approx(2 / 3), 0.5)
    assert row["auroc"] == pytest.approx(np.mean([a > b for a in test for b in foreign]))
    assert row["refused_low"] < 0.5 < row["refused_high"]
    assert row["precision_test"] == 0.5
