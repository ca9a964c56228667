"""Padded depthwise convolutions: the same function and gradients, and oneDNN pads no input smaller than the kernel."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from decant.models.backbones import build_classifier
from decant.models.classifier import Classifier
from decant.models.folded_norms import foldable_pairs, folded_norms
from decant.models.padded_depthwise import is_depthwise, padded_depthwise


def gradients(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    module(images).square().mean().backward()
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


class OneLayer(nn.Module):
    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (4, 4), (9, 3), (5, 5), (12, 12)])
@pytest.mark.parametrize(
    "kernel, padding, stride", [(5, 2, 1), ((3, 5), (1, 2), 1), (7, 3, 2), (5, "same", 1), (5, 4, 1)]
)
def test_output_and_gradients_are_those_of_the_layer(
    size: tuple[int, int], kernel: int | tuple[int, int], padding: int | tuple[int, int] | str, stride: int
) -> None:
    torch.manual_seed(0)
    network = OneLayer(nn.Conv2d(6, 6, kernel, stride, padding, groups=6)).double()
    images = torch.rand(3, 6, *size, dtype=torch.float64)
    expected, slopes = network(images), gradients(network, images)
    with padded_depthwise(network):
        torch.testing.assert_close(network(images), expected)
        found = gradients(network, images)
    assert found.keys() == slopes.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(found[name], slope)


def test_with_folded_norms_the_logits_and_gradients_are_those_of_the_network() -> None:
    classifier = network_of("test_efficientnet")
    images = torch.rand(4, 3, 64, 64)
    expected, slopes = classifier(images), gradients(classifier, images)
    with folded_norms(classifier, foldable_pairs(classifier, (64, 64))), padded_depthwise(classifier):
        torch.testing.assert_close(classifier(images), expected, rtol=1e-4, atol=1e-5)
        found = gradients(classifier, images)
    for name, slope in slopes.items():
        assert (found[name] - slope).norm() <= 1e-3 * slope.norm() + 1e-7, name


def test_no_convolution_pads_an_input_smaller_than_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = network_of("mobilenetv4_conv_small_050")
    padded_by_library: list[bool] = []
    convolve = F.conv2d

    def watched(x: Tensor, weight: Tensor, bias: Tensor | None, *where: Any) -> Tensor:
        _, padding, _, groups = where
        if groups > 1:
            padded_by_library.append(max(padding) > 0 and min(x.shape[2:]) < max(weight.shape[2:]))
        return convolve(x, weight, bias, *where)

    monkeypatch.setattr(F, "conv2d", watched)
    images = torch.rand(2, 3, 64, 64)
    classifier(images)
    assert any(padded_by_library), "the network has no such layer at this size: the test shows nothing"
    padded_by_library.clear()
    with padded_depthwise(classifier):
        classifier(images)
    assert padded_by_library and not any(padded_by_library)


@pytest.mark.parametrize("side, stride, met", [(2, 1, 3), (3, 1, 5), (1, 1, 1), (4, 2, 5), (1, 2, 1)])
def test_the_part_of_a_kernel_that_meets_only_padding_is_left_out(
    monkeypatch: pytest.MonkeyPatch, side: int, stride: int, met: int
) -> None:
    layer = nn.Conv2d(4, 4, 5, stride, 2, groups=4)
    seen: list[tuple[int, ...]] = []
    convolve = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda x, w, *where: (seen.append(tuple(w.shape[2:])), convolve(x, w, *where))[1])
    with padded_depthwise(OneLayer(layer)):
        layer(torch.rand(1, 4, side, side))
    assert seen == [(met, met)]


def test_an_input_that_is_too_small_is_refused_as_by_torch() -> None:
    layer = nn.Conv2d(4, 4, 5, groups=4)
    with padded_depthwise(OneLayer(layer)), pytest.raises(RuntimeError, match="Kernel size"):
        layer(torch.rand(1, 4, 3, 3))


def test_the_network_is_as_before_after_the_block() -> None:
    classifier = network_of("test_efficientnet")
    keys = list(classifier.state_dict())
    with pytest.raises(RuntimeError, match="stopped"), padded_depthwise(classifier):
        assert list(classifier.state_dict()) == keys
        raise RuntimeError("stopped")
    assert not any("_conv_forward" in vars(module) for module in classifier.modules())


def test_only_depthwise_convolutions_that_pad_with_zeros_are_changed() -> None:
    assert is_depthwise(nn.Conv2d(4, 4, 3, padding=1, groups=4))
    assert is_depthwise(nn.Conv2d(4, 8, 3, padding=1, groups=4))
    assert not is_depthwise(nn.Conv2d(4, 4, 3, padding=1))
    assert not is_depthwise(nn.Conv2d(4, 4, 3, padding=1, groups=2))
    assert not is_depthwise(nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"))
    assert not is_depthwise(nn.Linear(4, 4))


def network_of(architecture: str) -> Classifier:
    classifier, _ = build_classifier(architecture, 3, 64, ["none"], 0)
    return classifier.eval()
