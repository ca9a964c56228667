"""The number format of a training step: fp32, or bf16 where it is faster.

On CPUs, oneDNN takes longer for the gradients of a depthwise convolution in bf16 than in fp32, so that a
whole step in bf16 would be slower. Those gradients alone are therefore computed in fp32.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from decant.data.preprocessing import height_width
from decant.machine import faster_dtype, may_have_bf16
from decant.models.classifier import Classifier, placed
from decant.study import Training


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """A block in which matrix products have the format `dtype`: fp32 | bf16."""
    if dtype != "bf16":
        return nullcontext()
    return bf16_on_cpu() if device.type == "cpu" else torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def bf16_on_cpu() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16), DepthwiseGradientsInFp32():
        yield


class DepthwiseGradientsInFp32(TorchFunctionMode):
    """Within the block, depthwise convolutions in bf16 have gradients that are computed in fp32."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.conv2d and is_depthwise(args) and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return Bf16Depthwise.apply(*args)
        return function(*args, **(kwargs or {}))


def is_depthwise(arguments: tuple[Any, ...]) -> bool:
    """True for the arguments of a depthwise convolution as nn.Conv2d and timm give them, with a padding in pixels."""
    return len(arguments) == 7 and arguments[6] == arguments[0].shape[1] > 1 and isinstance(arguments[4], tuple)


class Bf16Depthwise(torch.autograd.Function):
    """A convolution in bf16 with gradients in fp32. Its arguments are those of F.conv2d, with a padding in pixels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        stride, padding, dilation, groups = geometry
        ctx.dtype, x = x.dtype, x.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.geometry = [stride, padding, dilation, False, [0, 0], groups]  # not transposed
        ctx.bias_shape = None if bias is None else list(bias.shape)
        return F.conv2d(x, weight.bfloat16(), None if bias is None else bias.bfloat16(), *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[:3])
        x_gradient, weight_gradient, bias_gradient = torch.ops.aten.convolution_backward(
            gradient.float(), x.float(), weight.float(), ctx.bias_shape, *ctx.geometry, needed
        )
        x_gradient = None if x_gradient is None else x_gradient.to(ctx.dtype)
        return x_gradient, weight_gradient, bias_gradient, None, None, None, None


def measured_dtype(classifier: Classifier, settings: Training, classes: int, device: torch.device) -> str:
    """The number format, fp32 or bf16, in which a training step of this network is faster on this machine."""
    if not may_have_bf16(device):
        return "fp32"
    batch = min(settings.batch_size, 32)
    images = torch.rand(batch, 3, *height_width(settings.input_px), device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch, device=device) % classes
    classifier = placed(classifier, device).train()
    saved = {key: value.clone() for key, value in classifier.state_dict().items()}

    def step(dtype: torch.dtype) -> None:
        with autocast("bf16" if dtype == torch.bfloat16 else "fp32", device):
            logits = classifier(images)
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    chosen = faster_dtype(step)
    classifier.zero_grad(set_to_none=True)
    classifier.load_state_dict(saved)  # the steps changed the running statistics
    return chosen
