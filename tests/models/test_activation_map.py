"""Class-activation maps: they are high where the evidence lies, by a network whose answer is known."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from decant.models.activation_map import activation_maps, mapped_layer
from decant.models.classifier import Classifier


class Brightness(nn.Module):
    """Class 1 is as probable as the image is bright, class 0 as it is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.convolution.weight, 1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = self.convolution(images).mean(dim=(1, 2, 3))
        return torch.stack([-bright, bright], dim=1)


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(Brightness(), [0.0] * 3, [1.0] * 3).eval()


def test_the_map_is_high_where_the_evidence_is(classifier: Classifier) -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[:, :, 5, 2] = 1
    (heat,) = activation_maps(classifier, image, torch.tensor([1]))
    assert np.unravel_index(heat.argmax(), heat.shape) == (5, 2) and heat.max() == 1 and heat[0, 7] == 0


def test_what_speaks_against_the_answer_is_not_shown(classifier: Classifier) -> None:
    maps = activation_maps(classifier, torch.ones(1, 3, 8, 8), torch.tensor([0]))
    assert maps is not None and not maps.any()


def test_a_network_without_a_map_of_places_has_none() -> None:
    network = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), [0.0] * 3, [1.0] * 3).eval()
    assert activation_maps(network, torch.ones(1, 3, 8, 8), torch.tensor([0])) is None


def test_a_vision_transformer_has_none() -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, num_classes=2)
    images = torch.rand(1, 3, 64, 64)
    assert activation_maps(Classifier(network, [0.0] * 3, [1.0] * 3).eval(), images, torch.tensor([0])) is None


def test_the_last_convolution_with_enough_places_is_taken() -> None:
    first, second, last = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 2, stride=2), nn.Conv2d(2, 2, 2, stride=2)
    assert mapped_layer(nn.Sequential(first, second, last), torch.zeros(1, 3, 8, 8)) is second
