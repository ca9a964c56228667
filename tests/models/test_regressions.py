"""Regressions of several strengths: scikit-learn's solutions, in pieces, from any start, drawn to a given head."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from decant.models import regressions as module
from decant.models.probe import ABSENT
from decant.models.regressions import GivenHead, Regressions


def clusters(classes: int, each: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters off the origin: float32 [n, 6], int64 [n]."""
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), each)
    centres = np.random.default_rng(99).normal(size=(classes, 6)) * 1.5
    noise = generator.normal(size=(len(targets), 6)) * np.linspace(0.5, 3, 6)
    return (centres[targets] + noise + 10).astype(np.float32), targets


def fitted(regressions: Regressions, features: np.ndarray, strength: float) -> np.ndarray:
    """Probabilities of a fit."""
    probe = regressions.probe(regressions.solution(strength, regressions.centre), strength)
    return np.asarray(softmax(probe.logits(features), axis=1))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits that go on until nothing changes."""
    monkeypatch.setattr(module, "TOLERANCE", 1e-6)
    monkeypatch.setattr(module, "SMALLEST_STEP", 0.0)
    monkeypatch.setattr(module, "MAX_ITERATIONS", 2000)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(("classes", "strength"), [(2, 0.1), (3, 0.1), (6, 0.01), (6, 3.0)])
def test_the_probabilities_are_those_of_scikit_learn(classes: int, strength: float) -> None:
    features, targets = clusters(classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(targets))
    # scikit-learn fits two classes with one vector, whose penalty is twice that of two opposite halves.
    c = strength * (2 if classes == 2 else 1)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000, tol=1e-9))
    oracle.fit(features.astype(np.float64), targets, logisticregression__sample_weight=weight)
    probabilities = fitted(Regressions(features, targets, weight, classes), features, strength)
    np.testing.assert_allclose(probabilities, oracle.predict_proba(features), atol=2e-3)


def test_the_gradient_is_that_of_the_objective() -> None:
    features, targets = clusters(4)
    given = GivenHead(np.random.default_rng(2).normal(size=(4, 6)) * 0.1, np.arange(4.0))
    regressions = Regressions(features, targets, np.linspace(0.1, 2, len(targets)), 4, given)
    start = np.random.default_rng(3).normal(size=regressions.centre.size)
    _, gradient = regressions.objective(start, 0.5)
    for place in (0, 6, 13, 27):  # 6, 13 and 27 are biases
        step = np.zeros_like(start)
        step[place] = 1e-2
        above, below = (regressions.objective(start + sign * step, 0.5)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((above - below) / 2e-2, abs=1e-3)


def test_pieces_of_the_rows_give_the_same_objective_and_no_piece_is_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = clusters(50)
    regressions = Regressions(features, targets, np.ones(len(targets)), 50)
    start = np.random.default_rng(4).normal(size=regressions.centre.size)
    whole = regressions.objective(start, 1.0)
    sizes: list[int] = []
    log_softmax_of = torch.nn.functional.log_softmax

    def noted(logits: torch.Tensor, dim: int) -> torch.Tensor:
        sizes.append(logits.numel())
        return log_softmax_of(logits, dim)

    monkeypatch.setattr(module.F, "log_softmax", noted)
    monkeypatch.setattr(module, "PIECE", 50 * 7)
    in_pieces = regressions.objective(start, 1.0)
    assert in_pieces[0] == pytest.approx(whole[0], rel=1e-5)
    np.testing.assert_allclose(in_pieces[1], whole[1], atol=1e-6)
    assert max(sizes) == 50 * 7 and sum(sizes) == 50 * len(targets)


@pytest.mark.parametrize(("rows", "classes", "steps"), [(100, 10, 300), (20_000, 1_000, 65), (50_000, 5_000, 10)])
def test_a_larger_problem_has_fewer_steps_and_never_none(rows: int, classes: int, steps: int) -> None:
    regressions = Regressions(np.zeros((10, 3), np.float32), np.zeros(10, np.int64), np.ones(10), 1)
    regressions.rows = torch.empty(rows, 769, device="meta")
    regressions.present = np.arange(classes)
    assert regressions.iterations == pytest.approx(steps, rel=0.1)


def test_thousands_of_classes_are_fitted() -> None:
    classes = 600
    generator = np.random.default_rng(5)
    centres = generator.normal(size=(classes, 32)).astype(np.float32)
    targets = np.tile(np.arange(classes), 2)
    features = centres[targets] + 0.1 * generator.normal(size=(len(targets), 32)).astype(np.float32)
    regressions = Regressions(features, targets, np.ones(len(targets)), classes)
    probe = regressions.probe(regressions.solution(1.0, regressions.centre), 1.0)
    assert (probe.logits(centres).argmax(axis=1) == np.arange(classes)).mean() > 0.95


@pytest.mark.usefixtures("exact")
def test_a_start_elsewhere_ends_in_the_same_solution() -> None:
    features, targets = clusters(4)
    regressions = Regressions(features, targets, np.ones(len(targets)), 4)
    start = np.random.default_rng(6).normal(size=regressions.centre.shape)
    start -= start.mean(axis=0)  # the same constant for all classes changes no probability
    one, other = regressions.solution(0.1, regressions.centre), regressions.solution(0.1, start)
    np.testing.assert_allclose(one, other, atol=0.02)


def test_classes_without_examples_get_logits_far_below_the_others() -> None:
    features, numbers = clusters(2)
    probabilities = fitted(Regressions(features, np.array([1, 3])[numbers], np.ones(len(numbers)), 5), features, 0.1)
    assert probabilities.shape == (len(features), 5)
    assert probabilities[:, [0, 2, 4]].max() < 1e-4


def test_strong_regularisation_leaves_the_given_head_and_weak_regularisation_leaves_it() -> None:
    features, targets = clusters(3)
    generator = np.random.default_rng(7)
    given = GivenHead(generator.normal(size=(3, 6)) * 0.2, generator.normal(size=3))
    regressions = Regressions(features, targets, np.ones(len(targets)), 3, given)
    expected = np.exp(log_softmax(features @ given.weight.T + given.bias, axis=1))
    np.testing.assert_allclose(fitted(regressions, features, 1e-7), expected, atol=1e-3)
    assert (fitted(regressions, features, 1.0).argmax(axis=1) == targets).mean() > (
        expected.argmax(axis=1) == targets
    ).mean() + 0.1


def test_a_class_without_examples_keeps_its_given_weights() -> None:
    features, targets = clusters(2)
    given = GivenHead(np.full((3, 6), 0.01), np.zeros(3))
    regressions = Regressions(features, targets, np.ones(len(targets)), 3, given)
    solution = regressions.solution(1e-3, regressions.centre)
    assert len(solution) == 3
    assert regressions.probe(solution, 1e-3).bias.min() > ABSENT / 2
