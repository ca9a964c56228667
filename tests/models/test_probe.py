"""The linear probe: equal to scikit-learn's regression on standardised features, also as a network's head."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from decant.models.backbones import head_of
from decant.models.classifier import Classifier
from decant.models.inference import features_of
from decant.models.probe import LinearProbe


def clusters(classes: int, dimensions: int = 6, each: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping Gaussian clusters off the origin: float32 [n, D], int64 [n]."""
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), each)
    centres = generator.normal(size=(classes, dimensions)) * 1.5
    noise = generator.normal(size=(len(targets), dimensions)) * np.linspace(0.5, 4, dimensions)
    return (centres[targets] + noise + 10).astype(np.float32), targets


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_probabilities_are_those_of_scikit_learn_on_standardised_features(classes: int) -> None:
    features, targets = clusters(classes)
    probe = LinearProbe(classes, 0.3).fit(features, targets)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000, tol=1e-8))
    expected = oracle.fit(features.astype(np.float64), targets).predict_proba(features)
    probabilities = torch.softmax(torch.from_numpy(probe.logits(features)), dim=1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=5e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_head_gives_the_logits_of_the_regression(classes: int) -> None:
    features, targets = clusters(classes)
    probe = LinearProbe(classes, 0.1).fit(features, targets)
    head = nn.Linear(features.shape[1], classes)
    probe.write_into(head)
    with torch.inference_mode():
        logits = head(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(logits, probe.logits(features), rtol=1e-4, atol=1e-4)


def test_a_network_with_the_probe_as_its_head_gives_the_logits_of_the_probe(
    small: Callable[..., Classifier], images: Tensor
) -> None:
    classifier = small(classes=2)
    features = features_of(classifier, images)
    probe = LinearProbe(2, 0.1).fit(features, np.array([0, 1, 0, 1]))
    probe.write_into(head_of(classifier))
    with torch.inference_mode():
        np.testing.assert_allclose(classifier(images).numpy(), probe.logits(features), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("present", [[0, 2], [1, 3, 4]])
def test_a_class_without_examples_is_never_predicted(present: list[int]) -> None:
    features, numbers = clusters(len(present))
    targets = np.array(present)[numbers]
    logits = LinearProbe(5, 0.1).fit(features, targets).logits(features)
    absent = [label for label in range(5) if label not in present]
    assert logits.shape == (len(features), 5)
    assert set(logits.argmax(axis=1)) <= set(present)
    probabilities = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    assert probabilities[:, absent].max() < 1e-4


def test_absent_classes_do_not_shift_the_odds_of_the_others() -> None:
    features, numbers = clusters(3)
    among_three = LinearProbe(3, 0.1).fit(features, numbers).logits(features)
    among_six = LinearProbe(6, 0.1).fit(features, numbers * 2).logits(features)
    np.testing.assert_allclose(among_six[:, [0, 2, 4]], among_three)


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    features, targets = clusters(3, each=10)
    weight = np.where(np.arange(len(targets)) % 2, 1.0, 2.0)
    twice = np.concatenate([np.arange(len(targets)), np.flatnonzero(weight == 2)])
    weighted = LinearProbe(3, 0.1).fit(features, targets, weight)
    repeated = LinearProbe(3, 0.1)
    repeated.fit(features[twice], targets[twice])
    # Standardisation ignores the sample weights, so predictions are compared, not logits.
    agree = weighted.logits(features).argmax(axis=1) == repeated.logits(features).argmax(axis=1)
    assert agree.mean() > 0.95


def test_a_row_of_weight_zero_has_no_effect() -> None:
    features, targets = clusters(2)
    wrong = targets.copy()
    wrong[:15] = 1
    weight = np.where(wrong == targets, 1.0, 0.0)
    fitted = LinearProbe(2, 0.1).fit(features, wrong, weight)
    other = wrong.copy()
    other[:15] = 0
    np.testing.assert_allclose(
        fitted.logits(features), LinearProbe(2, 0.1).fit(features, other, weight).logits(features), atol=1e-2
    )


def test_a_constant_feature_keeps_the_logits_finite() -> None:
    features, targets = clusters(3)
    features[:, 0] = 5.0
    assert np.isfinite(LinearProbe(3, 0.1).fit(features, targets).logits(features)).all()


def test_classes_with_a_single_example_are_fitted_without_a_warning() -> None:
    features, _ = clusters(6, each=5)
    targets = np.arange(len(features))
    assert (LinearProbe(30, 1e3).fit(features, targets).logits(features).argmax(axis=1) == targets).mean() > 0.9


def test_a_separable_problem_is_fitted_without_a_warning() -> None:
    features = np.array([[-1.0], [-2.0], [1.0], [2.0]], dtype=np.float32)
    logits = LinearProbe(2, 1e6).fit(features, np.array([0, 0, 1, 1])).logits(features)
    assert list(logits.argmax(axis=1)) == [0, 0, 1, 1]
