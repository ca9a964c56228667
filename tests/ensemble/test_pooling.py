"""Pooling: weights against a general solver and hand-worked cases, the pool against its formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from decant.ensemble.pooling import METHODS, fit_pool, fit_weights, pool
from decant.errors import UserError


def teachers(seed: int, n: int, classes: int, skills: list[float]) -> tuple[list[np.ndarray], np.ndarray]:
    """Log-probabilities of simulated teachers, and the labels. Logits: skill * one-hot label + normal noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    truth = np.eye(classes)[labels]
    return [log_softmax(skill * truth + random.standard_normal((n, classes)), axis=1) for skill in skills], labels


def nll(weights: np.ndarray, logs: list[np.ndarray], labels: np.ndarray) -> float:
    mixture = sum(w * np.exp(log) for w, log in zip(weights, logs, strict=True))
    return float(-np.log(mixture[np.arange(len(labels)), labels]).mean())


seeds_and_skills = (st.integers(0, 10_000), st.lists(st.floats(0, 4), min_size=1, max_size=5))


@settings(max_examples=30, deadline=None)
@given(*seeds_and_skills)
def test_the_weights_of_every_method_are_not_negative_and_sum_to_1(seed, skills):
    logs, labels = teachers(seed, 60, 5, skills)
    for method in METHODS:
        weights = fit_weights(logs, labels, method)
        assert weights.dtype == np.float64 and weights.shape == (len(skills),)
        assert (weights >= 0).all() and weights.sum() == pytest.approx(1, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(*seeds_and_skills)
def test_convex_is_never_worse_on_val_than_equal_or_greedy_or_any_single_teacher(seed, skills):
    logs, labels = teachers(seed, 60, 5, skills)
    convex = nll(fit_weights(logs, labels, "convex"), logs, labels)
    assert convex <= nll(fit_weights(logs, labels, "equal"), logs, labels) + 1e-12
    assert convex <= nll(fit_weights(logs, labels, "greedy"), logs, labels) + 1e-4
    assert convex <= min(nll(single, logs, labels) for single in np.eye(len(logs))) + 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_convex_finds_the_optimum_of_a_general_solver(seed):
    logs, labels = teachers(seed, 400, 6, [1.0, 1.5, 2.0, 0.0])
    oracle = minimize(
        nll,
        np.full(4, 0.25),
        args=(logs, labels),
        method="SLSQP",
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    weights = fit_weights(logs, labels, "convex")
    assert nll(weights, logs, labels) <= oracle.fun + 1e-6
    np.testing.assert_allclose(weights, oracle.x, atol=0.01)


def test_convex_gives_weight_0_to_a_member_that_lowers_the_likelihood():
    # EM approaches a weight of 0 but never reaches it; here the last weight is 0.0002 when EM stops.
    logs, labels = teachers(12, 200, 10, [2.0, 1.9, 1.5])
    likelihoods = np.stack([np.exp(log[np.arange(200), labels]) for log in logs], axis=1)
    weights = fit_weights(logs, labels, "convex")
    for member in np.flatnonzero(weights == 0):
        gain = (likelihoods[:, member] / (likelihoods @ weights)).mean()
        assert gain <= 1  # at the optimum a higher weight gains nothing (Karush-Kuhn-Tucker)
    for member in np.flatnonzero(weights):
        fewer = np.where(np.arange(3) == member, 0, weights)
        assert nll(fewer / fewer.sum(), logs, labels) > nll(weights, logs, labels)
    assert weights[2] == 0


def test_greedy_weights_equal_a_case_worked_by_hand():
    # Likelihoods of the true class on two rows: A (.9, .1), B (.1, .9), C (.4, .4). The bags are compared by the
    # product over the rows. Step 1: C, .16 > .09. Step 2: A + C, .65 * .25 = .1625 > .16; B + C has the same product.
    # Step 3: B, .467^2 = .218. After that A and B alternate: a bag of size 2j + 1 has (j + .4)^2 / (2j + 1)^2, which
    # grows with j towards 1 / 4, and an even size is worse than the odd size before it. The best of 50 steps is 49.
    logs = [np.log(np.array([[p, 1 - p], [q, 1 - q]])) for p, q in [(0.9, 0.1), (0.1, 0.9), (0.4, 0.4)]]
    weights = fit_weights(logs, np.array([0, 0]), "greedy")
    np.testing.assert_allclose(weights, [24 / 49, 24 / 49, 1 / 49])


@settings(max_examples=30, deadline=None)
@given(*seeds_and_skills)
def test_greedy_is_never_worse_on_val_than_the_best_single_teacher(seed, skills):
    logs, labels = teachers(seed, 60, 5, skills)
    greedy = nll(fit_weights(logs, labels, "greedy"), logs, labels)
    assert greedy <= min(nll(single, logs, labels) for single in np.eye(len(logs))) + 1e-12


@pytest.mark.parametrize("method", ["convex", "greedy"])
def test_a_teacher_with_permuted_classes_gets_almost_no_weight(method):
    logs, labels = teachers(5, 500, 6, [3.0, 3.0, 3.0])
    logs[1] = np.roll(logs[1], 1, axis=1)
    weights = fit_weights(logs, labels, method)
    assert weights[1] < 0.02 and min(weights[0], weights[2]) > 0.3


@pytest.mark.parametrize("method", sorted(METHODS))
def test_rows_without_a_label_have_no_effect(method):
    logs, labels = teachers(6, 100, 4, [1.0, 2.0, 0.5])
    labels[50:] = -1
    expected = fit_weights([log[:50] for log in logs], labels[:50], method)
    np.testing.assert_allclose(fit_weights(logs, labels, method), expected)
    np.testing.assert_allclose(fit_weights(logs, np.full(100, -1), method), 1 / 3)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_probabilities_of_exactly_zero_do_not_break_a_fit(method):
    with np.errstate(divide="ignore"):
        certain = np.log(np.array([[1.0, 0.0], [1.0, 0.0]]))
    uniform = np.log(np.full((2, 2), 0.5))
    weights = fit_weights([certain, uniform], np.array([0, 1]), method)
    assert np.isfinite(weights).all() and weights[1] > 0
    assert np.isfinite(fit_weights([certain, certain], np.array([1, 1]), method)).all()


def test_the_error_for_an_unknown_method_suggests_the_nearest():
    logs, labels = teachers(0, 5, 3, [1.0])
    with pytest.raises(UserError, match="did you mean convex"):
        fit_weights(logs, labels, "convx")


def test_no_members_and_different_numbers_of_rows_are_refused():
    logs, labels = teachers(0, 5, 3, [1.0, 1.0])
    with pytest.raises(ValueError):
        fit_weights([], labels, "equal")
    with pytest.raises(ValueError):
        fit_weights([logs[0], logs[1][:4]], labels, "convex")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_pool_of_one_teacher_equals_that_teacher(seed):
    (log,), _ = teachers(seed, 8, 5, [2.0])
    pooled = pool([log.astype(np.float32)], [1.0], [1.0])
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, log, atol=2e-6)


def test_equal_weights_at_temperature_1_are_the_mean_of_the_probabilities():
    logs, _ = teachers(1, 20, 5, [1.0, 2.0, 3.0])
    pooled = pool(logs, [1 / 3] * 3, [1.0] * 3)
    np.testing.assert_allclose(np.exp(pooled), np.mean(np.exp(logs), axis=0), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.tuples(st.floats(0, 1), st.floats(0.3, 5)), min_size=1, max_size=4))
def test_the_pool_is_the_weighted_mean_of_calibrated_probabilities(seed, members):
    raw = np.array([w for w, _ in members]) + 1e-3
    weights, temperatures = raw / raw.sum(), [t for _, t in members]
    logits = np.random.default_rng(seed).normal(scale=3, size=(len(weights), 6, 4))
    expected = sum(w * softmax(z / t, axis=1) for w, z, t in zip(weights, logits, temperatures, strict=True))
    pooled = pool(list(logits), weights, temperatures)
    np.testing.assert_allclose(np.exp(pooled), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(pooled.astype(float)).sum(axis=1), 1, atol=1e-5)


def test_a_teacher_of_weight_0_has_no_effect():
    logs, _ = teachers(2, 20, 5, [1.0, 2.0])
    broken = np.full_like(logs[0], np.nan)
    np.testing.assert_array_equal(pool([logs[0], broken], [1, 0], [1, 1]), pool([logs[0]], [1], [1]))


@pytest.mark.parametrize(
    ("weights", "temperatures"),
    [([0.5, 0.4], [1, 1]), ([1.5, -0.5], [1, 1]), ([1.0], [1, 1]), ([0.5, 0.5], [1]), ([np.nan, 1], [1, 1])],
)
def test_invalid_weights_and_numbers_of_weights_are_refused(weights, temperatures):
    logs, _ = teachers(2, 4, 5, [1.0, 2.0])
    with pytest.raises(ValueError):
        pool(logs, weights, temperatures)
    with pytest.raises(ValueError, match="shape"):
        pool([logs[0], logs[1][:, :4]], [0.5, 0.5], [1, 1])


def log_linear_nll(weights: np.ndarray, logs: list[np.ndarray], labels: np.ndarray) -> float:
    mixed = log_softmax(sum(w * log for w, log in zip(weights, logs, strict=True)), axis=1)
    return float(-mixed[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("seed", range(4))
def test_log_linear_weights_and_temperature_are_those_of_a_general_solver(seed):
    logs, labels = teachers(seed, 800, 6, [1.0, 1.5, 2.0, 0.0])
    fitted = fit_pool(logs, labels, "log_linear")
    # A member's temperature and weight act as one factor, so the solver searches the factors of the raw logarithms.
    factors = np.array(fitted.weights) / np.array(fitted.temperatures) / fitted.temperature
    oracle = minimize(log_linear_nll, np.full(4, 0.25), args=(logs, labels), bounds=[(0, None)] * 4, tol=1e-12)
    np.testing.assert_allclose(factors[:3], oracle.x[:3], atol=0.02)  # the fourth knows nothing
    assert log_linear_nll(factors, logs, labels) == pytest.approx(oracle.fun, abs=1e-3)


def test_a_log_linear_pool_without_errors_stays_finite():
    logs = [np.log(np.full((20, 3), 0.01) + 0.97 * np.eye(3)[[0, 1] * 10])] * 2
    fitted = fit_pool(logs, np.array([0, 1] * 10), "log_linear")
    assert np.isfinite(fitted.of(logs)).all() and sum(fitted.weights) == pytest.approx(1)


def test_the_pools_temperature_is_that_of_the_best_likelihood():
    logs, labels = teachers(0, 2000, 5, [1.0, 1.0, 1.0])
    fitted = fit_pool(logs, labels, "equal")
    assert fitted.temperature < 0.95, "the mean of calibrated probabilities is not certain enough"
    untempered = pool(logs, fitted.weights, fitted.temperatures)
    found = minimize(
        lambda t: -log_softmax(untempered / t[0], axis=1)[np.arange(2000), labels].mean(), [1.0], bounds=[(0.1, 5)]
    )
    assert fitted.temperature == pytest.approx(found.x[0], rel=0.01)
    np.testing.assert_allclose(fitted.of(logs), log_softmax(untempered / fitted.temperature, axis=1), atol=1e-5)
