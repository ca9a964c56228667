"""Averaged weights follow the paper's recursion and are separate from the trained weights."""

import numpy as np
import pytest
import torch

from decant.models.backbones import build_classifier
from decant.models.classifier import Classifier
from decant.training.averaging import Averaged

KEY = "backbone.conv_stem.weight"


@pytest.fixture
def classifier() -> Classifier:
    return build_classifier("test_efficientnet", 3, 32, ["none"], 0)[0]


def shifted(classifier: Classifier, by: float) -> None:
    with torch.no_grad():
        for value in classifier.state_dict().values():
            value.add_(by if value.is_floating_point() else 1)


def test_without_a_horizon_the_trained_network_itself_is_used(classifier: Classifier) -> None:
    averaged = Averaged(classifier, 0.0, 100)
    shifted(classifier, 1.0)
    averaged.update(classifier, 0)
    assert averaged.module is classifier


def test_the_average_is_the_exponential_moving_average_of_the_weights(classifier: Classifier) -> None:
    averaged = Averaged(classifier, 0.1, 100)
    expected = classifier.state_dict()[KEY].numpy().astype(np.float64)
    for step in range(1000, 1004):  # late steps, where the decay has reached its full value
        shifted(classifier, 0.5)
        averaged.update(classifier, step)
        expected = 0.9 * expected + 0.1 * classifier.state_dict()[KEY].numpy()
    np.testing.assert_allclose(averaged.module.state_dict()[KEY].numpy(), expected, atol=1e-5)


def test_before_its_horizon_it_is_the_mean_of_the_weights_after_every_step(classifier: Classifier) -> None:
    averaged = Averaged(classifier, 1.0, 1000)
    after = []
    for step in range(4):
        shifted(classifier, 0.5 * (step + 1))
        averaged.update(classifier, step)
        after.append(classifier.state_dict()[KEY].numpy().astype(np.float64))
    np.testing.assert_allclose(averaged.module.state_dict()[KEY].numpy(), np.mean(after, axis=0), atol=1e-5)


def test_statistics_are_averaged_and_counters_copied(classifier: Classifier) -> None:
    averaged = Averaged(classifier, 0.02, 100)
    shifted(classifier, 1.0)
    averaged.update(classifier, 1000)
    state = averaged.module.state_dict()
    mean = state["backbone.bn1.running_mean"]
    torch.testing.assert_close(mean, torch.full_like(mean, 0.5))
    assert state["backbone.bn1.num_batches_tracked"] == 1


def test_updating_does_not_change_the_trained_network(classifier: Classifier) -> None:
    averaged = Averaged(classifier, 0.02, 100)
    shifted(classifier, 1.0)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    averaged.update(classifier, 3)
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())


def test_the_average_has_no_gradients(classifier: Classifier) -> None:
    assert not any(parameter.requires_grad for parameter in Averaged(classifier, 0.02, 100).module.parameters())
    assert all(parameter.requires_grad for parameter in classifier.parameters())
