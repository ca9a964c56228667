"""Depthwise convolutions in bf16 whose gradients are fast on CPUs.

oneDNN computes two of their gradients more slowly in bf16 than in fp32: the input's if the stride is above 1, and the
weights' if the kernel is larger than 3 x 3.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]  # rows and columns
FAST_KERNEL = 3  # largest side of a kernel whose gradients are computed in bf16


def is_depthwise(arguments: tuple[Any, ...]) -> bool:
    """True for the arguments of a depthwise convolution as nn.Conv2d and timm give them, with a padding in pixels.

    A padding beyond the kernel, which no known network has, is left to oneDNN.
    """
    if len(arguments) != 7:
        return False
    x, weight, _, _, padding, dilation, groups = arguments
    if not groups == x.shape[1] == weight.shape[0] > 1 or not isinstance(padding, tuple):
        return False
    return all(pad <= reach for pad, reach in zip(padding, kernel_reach(weight, dilation), strict=True))


def kernel_reach(weight: Tensor, dilation: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns a kernel covers beyond its first. weight: [C, 1, rows, columns]."""
    return dilation[0] * (weight.shape[2] - 1), dilation[1] * (weight.shape[3] - 1)


class Bf16Depthwise(torch.autograd.Function):
    """A convolution in bf16 with fast gradients. Its arguments are those of F.conv2d, with a padding in pixels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        ctx.dtype, ctx.geometry, x = x.dtype, geometry, x.bfloat16()
        ctx.bias_shape = None if bias is None else list(bias.shape)
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight.bfloat16(), None if bias is None else bias.bfloat16(), *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, *needed = ctx.needs_input_grad[:3]
        of_x = input_gradient(gradient, x, weight, *ctx.geometry).to(ctx.dtype) if needs_x else None
        of_weight, of_bias = parameter_gradients(gradient, x, weight, ctx.bias_shape, needed, *ctx.geometry)
        return of_x, of_weight, of_bias, None, None, None, None


def input_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """The gradient of the input, bf16 [B, C, height, width]: a convolution of the output's gradient with the flipped
    kernel. If the stride is above 1, zeros are put between the rows and columns of that gradient.
    """
    reach = kernel_reach(weight, dilation)
    if stride != (1, 1):
        height, width = (side + 2 * pad - more for side, pad, more in zip(x.shape[2:], padding, reach, strict=True))
        spread = gradient.new_zeros(len(x), height, width, groups).permute(0, 3, 1, 2)  # channels last
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    rest = (reach[0] - padding[0], reach[1] - padding[1])
    return F.conv2d(gradient, weight.bfloat16().flip(2, 3), None, 1, rest, dilation, groups)


def parameter_gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_shape: list[int] | None,
    needed: list[bool],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of weight and bias, None where not `needed`: in bf16 for small kernels, else in fp32."""
    if not any(needed):
        return None, None
    dtype = torch.bfloat16 if max(weight.shape[2:]) <= FAST_KERNEL else torch.float32
    arguments = (bias_shape, [*stride], [*padding], [*dilation], False, [0, 0], groups, [False, *needed])
    _, of_weight, of_bias = torch.ops.aten.convolution_backward(
        gradient.to(dtype), x.to(dtype), weight.to(dtype), *arguments
    )
    return None if of_weight is None else of_weight.float(), None if of_bias is None else of_bias.float()
