"""The referee's interval and verdict."""

import numpy as np
import pytest

from decant.evaluation.referee import DISTIL, DO_NOT, UNKNOWN, Difference, paired_difference, verdict


def answers(rates: list[float], n: int, seed: int) -> np.ndarray:
    """bool [S, n]: each seed's model is right with its rate, independently."""
    random = np.random.default_rng(seed)
    return np.stack([random.random(n) < rate for rate in rates])


def test_the_difference_is_the_mean_over_seeds_and_images() -> None:
    one, two = answers([0.9, 0.8, 0.85], 500, 0), answers([0.7, 0.75, 0.8], 500, 1)
    found = paired_difference(one, two, np.arange(500))
    assert found.mean == pytest.approx(one.mean() - two.mean())
    np.testing.assert_allclose(found.of_seeds, one.mean(axis=1) - two.mean(axis=1))
    assert found.low < found.mean < found.high


def test_one_seed_has_the_interval_of_its_images() -> None:
    one, two = answers([0.9], 400, 0), answers([0.8], 400, 1)
    found = paired_difference(one, two, np.arange(400))
    differences = one[0].astype(float) - two[0]
    half = 1.96 * differences.std() / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_images_that_depend_on_one_another_widen_the_interval() -> None:
    one, two = (np.repeat(answers([0.9, 0.9, 0.9], 100, seed), 10, axis=1) for seed in (0, 1))
    alone = paired_difference(one, two, np.arange(1000))
    together = paired_difference(one, two, np.repeat(np.arange(100), 10))
    assert together.high - together.low > 1.7 * (alone.high - alone.low)


def test_the_spread_of_few_seeds_is_not_understated() -> None:
    # Without images to vary, the variance is that of the mean of S seeds: the sample variance / S.
    gains = [0.0, 0.1, 0.2, 0.3]
    n = 4000
    one = np.stack([np.arange(n) < gain * n for gain in gains])
    found = paired_difference(one, np.zeros_like(one), np.zeros(n))  # one group: images do not vary
    deviation = np.std(gains, ddof=1) / np.sqrt(len(gains))
    assert (found.high - found.low) / (2 * 1.96 * deviation) == pytest.approx(1, abs=0.12)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    random, covered = np.random.default_rng(0), 0
    for trial in range(150):
        seeds = 0.05 + 0.02 * random.standard_normal(6)
        one, two = answers(list(0.7 + seeds), 300, 2 * trial), answers([0.7] * 6, 300, 2 * trial + 1)
        found = paired_difference(one, two, np.arange(300), seed=trial)
        covered += found.low <= 0.05 <= found.high
    assert 0.86 <= covered / 150 <= 1


@pytest.mark.parametrize(
    ("low", "high", "seeds", "expected"),
    [
        (0.001, 0.02, 3, DISTIL),
        (0.001, 0.02, 2, UNKNOWN),
        (-0.02, -0.001, 3, DO_NOT),
        (-0.002, 0.002, 3, DO_NOT),
        (-0.001, 0.01, 5, UNKNOWN),
        (-0.01, 0.01, 5, UNKNOWN),
    ],
)
def test_the_verdict(low: float, high: float, seeds: int, expected: str) -> None:
    assert verdict(Difference((low + high) / 2, low, high, np.zeros(seeds))) == expected
