"""Depthwise convolutions that pad their own input where their kernel is larger than it.

oneDNN is slower in the gradients of such a convolution if it has to pad. Rows and columns of the kernel that only ever
meet padding are left out too: of 5 x 5 weights, an input of 2 x 2 meets 3 x 3. The result is the same up to the order
of sums.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeGuard

from torch import Tensor, nn
from torch.nn import functional as F

METHOD = "_conv_forward"  # of nn.Conv2d: input, weight and bias -> output


@contextmanager
def padded_depthwise(network: nn.Module) -> Iterator[None]:
    """Within the block, the depthwise convolutions of the network pad small inputs themselves."""
    layers = [module for module in network.modules() if is_depthwise(module)]
    for layer in layers:
        setattr(layer, METHOD, padding_small_inputs(layer))
    try:
        yield
    finally:
        for layer in layers:
            delattr(layer, METHOD)  # the method of the class is visible again


def is_depthwise(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """True for a depthwise convolution that pads with zeros."""
    return type(module) is nn.Conv2d and module.groups == module.in_channels > 1 and module.padding_mode == "zeros"


def padding_small_inputs(layer: nn.Conv2d) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The layer's convolution, which pads an input that is smaller than the kernel before it is called."""
    left, right, top, bottom = layer._reversed_padding_repeated_twice

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if min(x.shape[2:]) >= max(layer.kernel_size):
            return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        rows, above, below = kernel_part(layer, 0, x.shape[2], top, bottom)
        columns, before, after = kernel_part(layer, 1, x.shape[3], left, right)
        padded = F.pad(x, (before, after, above, below))
        return F.conv2d(padded, weight[:, :, rows, columns], bias, layer.stride, (0, 0), layer.dilation, layer.groups)

    return forward


def kernel_part(layer: nn.Conv2d, axis: int, side: int, before: int, after: int) -> tuple[slice, int, int]:
    """The part of the kernel along an axis that ever meets the input, and the padding that this part needs.

    side: of the input, pixels. before, after: the padding that the whole kernel needs.
    """
    kernel, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
    positions = range(0, side + before + after - dilation * (kernel - 1), stride)
    on_input = [i for i in range(kernel) if any(0 <= position + dilation * i - before < side for position in positions)]
    first, last = (on_input[0], on_input[-1]) if on_input else (0, kernel - 1)  # none: torch names the wrong size
    return slice(first, last + 1), before - dilation * first, after - dilation * (kernel - 1 - last)
