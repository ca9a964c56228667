"""Temperature scaling: planted temperatures are recovered; SciPy and scikit-learn are the oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from decant.ensemble.calibration import apply_temperature, fit_temperature


def calibrated_rows(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: T = 1 is correct by construction."""
    random = np.random.default_rng(seed)
    logits = 2 * random.standard_normal((n, classes))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < random.random((n, 1))).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return float(log_loss(labels, softmax(logits / temperature, axis=1), labels=range(logits.shape[1])))


@pytest.mark.parametrize("planted", [0.3, 1.0, 2.5, 8.0])
def test_a_planted_temperature_is_recovered(planted):
    logits, labels = calibrated_rows(20_000, 10, seed=1)
    assert fit_temperature(logits * planted, labels) == pytest.approx(planted, rel=0.03)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.2, 6))
def test_without_a_prior_the_temperature_minimises_the_nll(seed, classes, planted):
    logits, labels = calibrated_rows(300, classes, seed)
    logits = logits * planted
    temperature = fit_temperature(logits, labels, prior=0.0)
    oracle = minimize_scalar(
        lambda log_t: nll(logits, labels, np.exp(log_t)), bounds=(np.log(0.05), np.log(20)), method="bounded"
    )
    assert nll(logits, labels, temperature) <= oracle.fun + 1e-9


def test_the_prior_changes_a_fit_on_hundreds_of_rows_by_at_most_one_percent():
    logits, labels = calibrated_rows(500, 8, seed=2)
    plain = fit_temperature(logits * 3, labels, prior=0.0)
    assert fit_temperature(logits * 3, labels) == pytest.approx(plain, rel=0.01)


def test_logits_and_log_probabilities_give_the_same_temperature():
    logits, labels = calibrated_rows(400, 6, seed=3)
    of_logits = fit_temperature(logits * 2 + 7, labels)
    assert fit_temperature(log_softmax(logits * 2, axis=1), labels) == pytest.approx(of_logits, rel=1e-6)


def test_rows_without_a_label_have_no_effect():
    logits, labels = calibrated_rows(400, 6, seed=4)
    alone = fit_temperature(logits[:200], labels[:200])
    half = np.where(np.arange(400) < 200, labels, -1)
    assert fit_temperature(logits, half) == pytest.approx(alone, rel=1e-9)


def test_without_labelled_rows_the_temperature_is_1():
    assert fit_temperature(np.zeros((0, 4)), np.zeros(0, int)) == 1.0
    assert fit_temperature(np.ones((3, 4)), np.full(3, -1)) == 1.0


@pytest.mark.parametrize("n", [1, 3, 100])
def test_the_temperature_stays_moderate_if_val_has_no_error(n):
    logits = np.tile([4.0, 0.0, 0.0], (n, 1))
    temperature = fit_temperature(logits, np.zeros(n, int))
    assert 0.3 < temperature <= 1.0
    assert fit_temperature(logits, np.zeros(n, int), prior=0.0) == 0.05  # the plain minimum is the lower bound


def test_a_single_confident_error_gives_a_temperature_above_1_within_bounds():
    assert 1.0 < fit_temperature(np.array([[30.0, 0.0]]), np.array([1])) <= 20.0


def test_probabilities_of_exactly_zero_give_a_finite_temperature():
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]))
    assert np.isfinite(fit_temperature(logs, np.array([0, 2, 1])))
    assert np.array_equal(apply_temperature(logs, 2.0)[0], logs[0])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 20))
def test_applying_a_temperature_gives_the_softmax_of_the_divided_logits(seed, temperature):
    logits = np.random.default_rng(seed).normal(scale=5, size=(4, 7)).astype(np.float32)
    applied = apply_temperature(log_softmax(logits.astype(float), axis=1).astype(np.float32), temperature)
    assert applied.dtype == np.float32
    np.testing.assert_allclose(np.exp(applied), softmax(logits.astype(float) / temperature, axis=1), atol=1e-5)
    np.testing.assert_allclose(np.exp(applied).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_and_finite_is_refused(temperature):
    with pytest.raises(ValueError, match="above 0"):
        apply_temperature(np.zeros((1, 2)), temperature)


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        (np.zeros((2, 3)), np.array([0, 3])),
        (np.zeros((2, 3)), np.array([0, -2])),
        (np.zeros((2, 3)), np.array([0.0, 1.0])),
        (np.zeros((2, 3)), np.array([0])),
        (np.array([[np.nan, 0.0]]), np.array([0])),
        (np.array([[np.inf, 0.0]]), np.array([0])),
    ],
)
def test_wrong_targets_shapes_and_scores_are_refused(scores, targets):
    with pytest.raises(ValueError):
        fit_temperature(scores, targets)
