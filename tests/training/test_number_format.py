"""Training in bf16, and the measurement that chooses the number format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import create_conv2d
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from trainings import CPU, PLAIN, Networks, Tasks, stopping

from decant.training import number_format
from decant.training.loop import train
from decant.training.number_format import autocast, measured_dtype


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_loss_falls_in_both_dtypes(network_of: Networks, task_of: Tasks, folder: Path, dtype: str) -> None:
    settings = PLAIN.model_copy(
        update={"architecture": "test_convnext", "epochs": 6, "label_smoothing": 0.0, "dtype": dtype}
    )
    losses: list[float] = []
    train(
        network_of(settings), task_of(settings), settings, 3, folder, stopping(-1), CPU,
        lambda row: losses.append(row["loss"]),
    )  # fmt: skip
    assert losses[-1] < losses[0]


def test_measuring_the_dtype_does_not_change_the_network(network_of: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[torch.dtype] = []

    def try_both(step: Callable[[torch.dtype], None]) -> str:
        for dtype in (torch.float32, torch.bfloat16):
            timed.append(dtype)
            step(dtype)
        return "bf16"

    monkeypatch.setattr(number_format, "faster_dtype", try_both)
    monkeypatch.setattr(number_format, "may_have_bf16", lambda device: True)
    network = network_of(PLAIN)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert measured_dtype(network, PLAIN, 3, CPU) == "bf16"
    assert timed == [torch.float32, torch.bfloat16]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_nothing_is_timed_without_bf16_instructions(network_of: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_format, "may_have_bf16", lambda device: False)
    monkeypatch.setattr(number_format, "faster_dtype", lambda step: pytest.fail("a step was timed"))
    assert measured_dtype(network_of(PLAIN), PLAIN, 3, CPU) == "fp32"


class ConvolutionGradients(TorchDispatchMode):
    """Notes the number format in which the gradients of each convolution are computed, with the shape of a filter."""

    def __init__(self) -> None:
        super().__init__()
        self.formats: list[tuple[torch.dtype, tuple[int, ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.convolution_backward.default:
            self.formats.append((args[0].dtype, tuple(args[2].shape[1:])))
        return function(*args, **(kwargs or {}))


def slopes(layer: nn.Module, images: Tensor, dtype: str) -> tuple[Tensor, list[Tensor]]:
    """A layer's output, and the gradients of its input and parameters."""
    layer.zero_grad()
    images = images.clone().requires_grad_()
    with autocast(dtype, CPU):
        output = layer(images)
    output.float().square().mean().backward()
    found = [images.grad, *(parameter.grad for parameter in layer.parameters())]
    return output, [value.clone() for value in found if value is not None]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("padding", [2, "same", ""])  # "same" pads by itself in timm
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("dilation", "height"), [(1, 16), (1, 15), (2, 17)])
def test_a_depthwise_convolution_in_bf16_has_the_gradients_of_fp32(
    bias: bool, padding: int | str, stride: int, kernel: int, dilation: int, height: int
) -> None:
    torch.manual_seed(0)
    layer = create_conv2d(6, 6, kernel, stride=stride, padding=padding, dilation=dilation, depthwise=True, bias=bias)
    images = torch.rand(3, 6, height, 18)
    expected, expected_slopes = slopes(layer, images, "fp32")
    output, found = slopes(layer, images, "bf16")
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.02)
    assert len(found) == len(expected_slopes) == 2 + bias
    for slope, wanted in zip(found, expected_slopes, strict=True):
        assert slope.dtype == torch.float32
        assert (slope - wanted).norm() < 0.02 * wanted.norm()


def test_only_the_weights_of_large_depthwise_kernels_have_gradients_in_fp32() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 5, 2, groups=4))
    with autocast("bf16", CPU):
        loss = network(torch.rand(2, 3, 32, 32)).float().square().mean()
    with ConvolutionGradients() as gradients:
        loss.backward()
    fp32, bf16 = torch.float32, torch.bfloat16
    assert gradients.formats == [(fp32, (1, 5, 5)), (bf16, (1, 3, 3)), (bf16, (3, 5, 5))]


def test_a_convolution_with_two_filters_per_channel_has_the_gradients_of_fp32() -> None:
    torch.manual_seed(0)
    layer, images = nn.Conv2d(4, 8, 3, 2, groups=4), torch.rand(2, 4, 9, 9)
    (_, expected), (_, computed) = slopes(layer, images, "fp32"), slopes(layer, images, "bf16")
    for gradient, wanted in zip(computed, expected, strict=True):
        assert (gradient - wanted).norm() < 0.02 * wanted.norm()


def test_a_frozen_depthwise_convolution_has_no_gradients() -> None:
    layer = nn.Conv2d(4, 4, 3, groups=4).requires_grad_(False)
    images = torch.rand(1, 4, 8, 8, requires_grad=True)
    with autocast("bf16", CPU):
        layer(images).float().sum().backward()
    assert images.grad is not None and layer.weight.grad is None and layer.bias is not None and layer.bias.grad is None
