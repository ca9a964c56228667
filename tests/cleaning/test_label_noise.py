"""Known noise lies in the estimated interval, and mistakes of a weak classifier are not taken for wrong labels."""

import numpy as np
import pytest
from scipy.special import softmax

from decant.cleaning.label_noise import (
    LARGEST_SUGGESTED,
    LabelNoise,
    NoiseRate,
    confident_joint_noise,
    judge_labels,
    label_noise,
    label_noise_metrics,
    minimum,
    noise_from_duplicates,
    noise_from_joint,
)

K = 5


def drawn(rng: np.random.Generator, probabilities: np.ndarray) -> np.ndarray:
    """Classes drawn from each row's probabilities; int64 [n]."""
    return np.asarray((probabilities.cumsum(axis=1) > rng.random((len(probabilities), 1))).argmax(axis=1))


def spoilt(rng: np.random.Generator, true: np.ndarray, rate: float) -> np.ndarray:
    """The labels, each replaced by another class with probability `rate`."""
    return np.where(rng.random(len(true)) < rate, (true + rng.integers(1, K, len(true))) % K, true)


def calibrated(spread: float, n: int = 4000, seed: int = 0) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Probabilities [n, K] and true classes drawn from them. spread: of the logits; 2 is a weak classifier."""
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(scale=spread, size=(n, K)), axis=1)
    return rng, probabilities, drawn(rng, probabilities)


def names(n: int) -> list[str]:
    return [str(number) for number in range(n)]


@pytest.mark.parametrize("spread", [2.0, 6.0])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.1, 0.3])
def test_a_known_rate_lies_in_the_interval_for_weak_and_strong_classifiers(spread: float, rate: float) -> None:
    rng, probabilities, true = calibrated(spread)
    estimate = noise_from_joint(probabilities, spoilt(rng, true, rate))
    assert estimate is not None
    assert estimate.low <= rate <= estimate.high
    assert estimate.high - estimate.low < 0.15


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_the_estimate_does_not_depend_on_the_temperature_of_the_classifier(temperature: float) -> None:
    rng, probabilities, true = calibrated(6.0)
    given = spoilt(rng, true, 0.1)
    softened = softmax(np.log(np.clip(probabilities, 1e-6, 1)) / temperature, axis=1)
    plain, other = noise_from_joint(probabilities, given), noise_from_joint(softened, given)
    assert plain is not None and other is not None
    assert other.rate == pytest.approx(plain.rate, abs=0.02)


def test_a_weak_classifier_on_correct_labels_gives_few_suggestions_though_its_confident_joint_is_large() -> None:
    _, probabilities, true = calibrated(2.0)
    judged = judge_labels(probabilities, true, np.arange(len(true)), names(len(true)))
    assert confident_joint_noise(probabilities, true) > 0.2
    assert len(judged.suspects) > 0.1 * len(true)
    assert len(judged.suggested) <= 0.01 * len(true)


def test_the_suggested_labels_are_the_most_suspect_and_mostly_wrong() -> None:
    rng, probabilities, true = calibrated(6.0)
    given = spoilt(rng, true, 0.1)
    judged = judge_labels(probabilities, given, np.arange(len(true)), names(len(true)))
    suggested = judged.suggested
    assert suggested.equals(judged.suspects.head(len(suggested)))
    assert 0.05 * len(true) < len(suggested) <= judged.noise.rate * len(true)
    assert (given != true)[suggested["id"].to_numpy(int)].mean() > 0.8


def test_permuted_classes_give_no_estimate_and_no_suggestion() -> None:
    _, probabilities, true = calibrated(6.0)
    judged = judge_labels(probabilities[:, [1, 2, 3, 4, 0]], true, np.arange(len(true)), names(len(true)))
    assert judged.noise.joint is None
    assert judged.noise.rate == 0
    assert judged.suggested.empty


def test_predictions_without_information_give_no_suggestion() -> None:
    rng, probabilities, _ = calibrated(2.0)
    judged = judge_labels(probabilities, rng.integers(0, K, 4000), np.arange(4000), names(4000))
    assert judged.suggested.empty


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
def test_duplicates_with_independent_labels_give_the_known_rate(rate: float) -> None:
    rng = np.random.default_rng(1)
    true = np.repeat(rng.integers(0, K, 2000), 2)
    estimate = noise_from_duplicates(list(np.repeat(names(2000), 2)), spoilt(rng, true, rate), K)
    assert estimate is not None
    assert estimate.low <= rate <= estimate.high
    assert estimate.n == 2000


def test_a_group_counts_once_and_unlabelled_copies_not_at_all() -> None:
    estimate = noise_from_duplicates(["a", "a", "a", "b", "b", "c"], np.array([0, 0, 1, 2, -1, 3]), K)
    assert estimate is not None
    assert (estimate.n, estimate.rate, estimate.low) == (1, 0.0, 0.0)
    assert estimate.high > 0.4
    assert noise_from_duplicates(["a", "b", "b"], np.array([0, 1, -1]), K) is None


def test_half_of_the_contradictions_of_few_pairs_is_about_the_rate() -> None:
    """By hand: 2r − 1.25 r² = 0.02 has the root 0.01006."""
    estimate = noise_from_duplicates(list(np.repeat(names(100), 2)), np.array([0, 1, 0, 1, *[2] * 196]), K)
    assert estimate is not None
    assert estimate.rate == pytest.approx(0.01006, abs=1e-5)


def noise_of(joint: tuple[float, float, float] | None, duplicates: tuple[float, float, float] | None) -> LabelNoise:
    return LabelNoise(
        1000, NoiseRate(*duplicates, 99) if duplicates else None, NoiseRate(*joint, 1000) if joint else None, 0.4
    )


@pytest.mark.parametrize(
    ("joint", "duplicates", "rate", "suggestions"),
    [
        ((0.05, 0.03, 0.07), None, 0.05, 50),
        ((0.05, 0.03, 0.07), (0.0, 0.0, 0.01), 0.01, 10),
        ((0.05, 0.03, 0.07), (0.1, 0.08, 0.12), 0.08, 80),
        ((0.45, 0.4, 0.5), None, 0.45, 300),
        ((0.1, 0.0, 0.4), (0.1, 0.08, 0.12), 0.0, 0),
        (None, (0.1, 0.08, 0.12), 0.0, 0),
    ],
)
def test_the_rate_is_that_of_the_predictions_within_the_interval_of_the_duplicates(
    joint: tuple[float, float, float] | None,
    duplicates: tuple[float, float, float] | None,
    rate: float,
    suggestions: int,
) -> None:
    noise = noise_of(joint, duplicates)
    assert (noise.rate, noise.suggestions) == (rate, suggestions)
    assert noise.suggestions <= LARGEST_SUGGESTED * noise.n < noise.n / 3


def test_the_metrics_of_label_noise_add_up() -> None:
    rng, probabilities, true = calibrated(3.0, n=600)
    given = spoilt(rng, true, 0.1)
    given[:50] = -1
    found = label_noise_metrics(judge_labels(probabilities, given, np.arange(600), names(600)))
    assert found["labels"] == 550
    assert found["suspects"] == found["suggested"] + found["not_suggested"]
    assert found["from_joint"]["low"] <= found["rate"] <= found["from_joint"]["high"]
    assert found["from_duplicates"] is None


@pytest.mark.parametrize("targets", [[], [1], [0, 0, 0], [-1, -1, 1], [0, 1, 0]])
def test_tiny_sets_give_no_suggestion(targets: list[int]) -> None:
    noise = label_noise(np.full((len(targets), 3), 1 / 3), np.array(targets, int), names(len(targets)))
    assert noise.suggestions == 0


def test_the_lower_of_two_minima_is_found() -> None:
    x, value = minimum(lambda x: min((x - 1) ** 2 + 1, (x - 4) ** 2), (0.0, 1.0, 2.0, 3.5, 5.0))
    assert (x, value) == (pytest.approx(4, abs=1e-3), pytest.approx(0, abs=1e-5))
