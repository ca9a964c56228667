"""Batch norms that keep their statistics, computed inside the convolutions before them.

Such a norm is an affine map of each channel, which a convolution can do with its own weights and bias: the function is
the same, and a CPU saves the passes over memory of each norm and of its gradients. In training the parameters stay
where they are, so checkpoints do not change; for inference a copy has the product in place of both.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from timm.layers.conv2d_same import Conv2dSame, conv2d_same
from torch import Tensor, nn

from decant.models.classifier import Classifier

TOLERANCE = 1e-3  # of the logits' standard deviation, for sums in another order
CHECKED_IMAGES = 2
Pairs = list[tuple[str, str]]  # names of a convolution and of the norm after it


@contextmanager
def folded_norms(classifier: Classifier, pairs: Pairs) -> Iterator[None]:
    """Within the block, the norms of `pairs` are computed by the convolutions. The norms must be in evaluation mode."""
    modules = dict(classifier.named_modules())
    replaced = []
    for convolution_name, norm_name in pairs:
        convolution, norm = modules[convolution_name], modules[norm_name]
        convolution.forward = folded_forward(convolution, norm)
        norm.forward = activation_of(norm)
        replaced += [convolution, norm]
    try:
        yield
    finally:
        for module in replaced:
            del module.forward  # the method of the class is visible again


def folded_copy(classifier: Classifier, pairs: Pairs) -> Classifier:
    """A copy for inference, in evaluation mode, in which the convolutions of `pairs` compute the norms."""
    folded = copy.deepcopy(classifier).eval().requires_grad_(False)
    modules = dict(folded.named_modules())
    for convolution_name, norm_name in pairs:
        convolution, norm = modules[convolution_name], modules[norm_name]
        weight, bias = folded_parameters(convolution, norm)
        convolution.weight, convolution.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
        norm.forward = activation_of(norm)
    return folded


def folded_forward(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    return lambda x: convolved(convolution, x, *folded_parameters(convolution, norm))


def folded_parameters(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that computes the norm after it too."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None, "a norm without statistics"
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    bias = norm.bias - mean * scale
    if convolution.bias is not None:
        bias = bias + convolution.bias * scale
    return convolution.weight * scale.view(-1, 1, 1, 1), bias


def convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What a convolution of torch or timm does, with another weight and bias."""
    if isinstance(layer, Conv2dSame):
        arguments: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return conv2d_same(x, weight, bias, *arguments)
    return layer._conv_forward(x, weight, bias)


def activation_of(norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """What a norm of timm does after normalising; a plain norm does nothing more."""
    if isinstance(norm, BatchNormAct2d):
        return lambda x: norm.act(norm.drop(x))
    return lambda x: x


def foldable_pairs(classifier: Classifier, size: tuple[int, int]) -> Pairs:
    """The convolutions whose output goes to one batch norm and nowhere else, with that norm.

    size: height and width of an input that the network accepts. The pairs are found in a forward pass, and tried on
    a copy with other norms; if its logits change, no pair is returned.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in classifier.modules()):
        return []
    trial = copy.deepcopy(classifier).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    disturb_norms(trial, generator)
    images = torch.rand(CHECKED_IMAGES, 3, *size, generator=generator)
    with torch.no_grad():
        pairs, expected = observed_pairs(trial, images)
        with folded_norms(trial, pairs):
            logits = trial(images)
    same = torch.allclose(logits, expected, rtol=0, atol=TOLERANCE * float(expected.std()))
    return pairs if same else []


def disturb_norms(classifier: Classifier, generator: torch.Generator) -> None:
    """Change every batch norm at random: without this, untrained norms would have no effect that can be checked."""
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                if values is not None:
                    values.data.add_(0.2 * torch.rand(values.shape, generator=generator))


def observed_pairs(classifier: Classifier, images: Tensor) -> tuple[Pairs, Tensor]:
    """The pairs of a convolution and the norm whose input is its unchanged output, and the logits."""
    convolution_of: dict[int, str] = {}
    outputs: list[Tensor] = []  # kept alive, so that no id is used twice
    pairs: Pairs = []
    handles = []

    def after_convolution(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            convolution_of[id(output)] = name
            outputs.append(output)

        return note

    def before_norm(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
            if id(inputs[0]) in convolution_of:
                pairs.append((convolution_of[id(inputs[0])], name))

        return note

    for name, module in classifier.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_convolution(name)))
        elif isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(before_norm(name)))
    logits = classifier(images)
    for handle in handles:
        handle.remove()
    return pairs, logits
