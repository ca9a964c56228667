"""TensorFlow's SAME padding as constants for one input size, so that the traced graph computes no padding."""

from functools import partial
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same_arg
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F


def fix_padding(network: nn.Module, example: Tensor) -> None:
    """Replace timm's SAME convolutions by `PaddedConvolution` for inputs of the example's size, in place.

    example: an input of the network, float32 [B, 3, H, W]. Without this, each one adds nodes that compute its padding
    at every call, and a Pad that engines do not merge, and the file loads and runs more slowly.
    """
    sizes: dict[str, list[int]] = {}

    def record_size(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        sizes[name] = list(inputs[0].shape[-2:])

    same = {name: module for name, module in network.named_modules() if isinstance(module, Conv2dSame)}
    hooks = [module.register_forward_pre_hook(partial(record_size, name)) for name, module in same.items()]
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()
    for name, size in sizes.items():
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, PaddedConvolution(same[name], size))


class PaddedConvolution(nn.Module):
    """A SAME convolution for inputs of one `size` (height, width): its padding is constant."""

    def __init__(self, same: nn.Conv2d, size: list[int]) -> None:
        super().__init__()
        self.weight, self.bias = same.weight, same.bias
        self.stride, self.dilation, self.groups = list(same.stride), list(same.dilation), same.groups
        # left, right, top, bottom, in pixels; the odd pixel goes right and down, as in TensorFlow
        self.pads = list(pad_same_arg(size, list(same.kernel_size), self.stride, self.dilation))

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, C, H, W] -> [B, D, h, w]."""
        return UnevenlyPadded.apply(images, self.weight, self.bias, self.pads, self.stride, self.dilation, self.groups)


class UnevenlyPadded(Function):
    """Convolution with a different padding on each side: two operations in torch, one in ONNX. Forward only."""

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        pads: list[int],
        stride: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        """The computation in PyTorch: float32 [B, C, H, W] -> [B, D, h, w]. pads: left, right, top, bottom."""
        return F.conv2d(F.pad(images, pads), weight, bias, stride, 0, dilation, groups)

    @staticmethod
    def symbolic(
        graph: Any,
        images: Any,
        weight: Any,
        bias: Any,
        pads: list[int],
        stride: list[int],
        dilation: list[int],
        groups: int,
    ) -> Any:
        """The node that the exporter writes."""
        left, right, top, bottom = pads
        inputs = (images, weight) if bias is None or bias.node().mustBeNone() else (images, weight, bias)
        return graph.op(
            "Conv",
            *inputs,
            pads_i=[top, left, bottom, right],
            strides_i=stride,
            dilations_i=dilation,
            group_i=groups,
            kernel_shape_i=weight.type().sizes()[2:],
        )
