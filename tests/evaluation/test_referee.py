"""The referee's interval and verdict."""

import numpy as np
import pytest
from scipy import stats

from decant.evaluation.referee import DISTIL, DO_NOT, UNKNOWN, Difference, level_of_looks, paired_difference, verdict


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
    one, two = (np.repeat(answers([0.9], 100, seed), 10, axis=1) for seed in (0, 1))
    alone = paired_difference(one, two, np.arange(1000))
    together = paired_difference(one, two, np.repeat(np.arange(100), 10))
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_the_interval_of_seeds_alone_is_students() -> None:
    gains, n = [0.0, 0.1, 0.2, 0.3], 4000
    one = np.stack([np.arange(n) < gain * n for gain in gains])
    found = paired_difference(one, np.zeros_like(one), np.zeros(n))  # one group: images do not vary
    half = stats.t.ppf(0.975, 3) * np.std(gains, ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((0.15 - half, 0.15 + half), rel=1e-6)


@pytest.mark.parametrize(("of_seeds", "seeds", "n"), [(0.03, 3, 2000), (0.0, 3, 300), (0.01, 5, 1000)])
def test_the_interval_covers_the_true_difference_as_often_as_it_says(of_seeds: float, seeds: int, n: int) -> None:
    random, covered, trials = np.random.default_rng(0), 0, 200
    for trial in range(trials):
        rates = 0.75 + of_seeds * random.standard_normal(seeds)
        found = paired_difference(
            answers(list(rates), n, 2 * trial), answers([0.7] * seeds, n, 2 * trial + 1), np.arange(n)
        )
        covered += found.low <= 0.05 <= found.high
    assert covered / trials >= 0.92


def test_looking_after_each_seed_is_seldom_wrong() -> None:
    random, wrong, trials, most = np.random.default_rng(1), 0, 200, 5
    for _ in range(trials):
        rates = 0.7 + 0.03 * random.standard_normal((2, most))
        one, two = (random.random((most, 1000)) < of[:, None] for of in rates)
        verdicts = [
            verdict(paired_difference(one[:seeds], two[:seeds], np.arange(1000), level_of_looks(most)))
            for seeds in range(3, most + 1)
        ]
        wrong += DISTIL in verdicts
    assert wrong / trials <= 0.05


def test_more_looks_need_a_higher_level() -> None:
    assert [level_of_looks(seeds) for seeds in (1, 3, 4, 7)] == pytest.approx([0.95, 0.95, 0.975, 0.99])


@pytest.mark.parametrize(
    ("low", "high", "seeds", "expected"),
    [
        (0.001, 0.02, 3, DISTIL),
        (0.001, 0.02, 2, UNKNOWN),
        (-0.02, -0.001, 3, DO_NOT),
        (-0.002, 0.002, 3, DO_NOT),
        (0.0004, 0.0016, 3, DO_NOT),
        (-0.001, 0.01, 5, UNKNOWN),
        (-0.01, 0.01, 5, UNKNOWN),
    ],
)
def test_the_verdict(low: float, high: float, seeds: int, expected: str) -> None:
    assert verdict(Difference((low + high) / 2, low, high, np.zeros(seeds))) == expected
