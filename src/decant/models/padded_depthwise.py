"""Depthwise convolutions that pad their own input where their kernel is larger than it.

oneDNN is slower in the gradients of such a convolution if it has to pad. The result is the same up to the order of
sums.
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
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: str | tuple[int, ...] = layer.padding
        if min(x.shape[2:]) < max(layer.kernel_size):
            x, padding = F.pad(x, layer._reversed_padding_repeated_twice), (0, 0)
        return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)

    return forward
