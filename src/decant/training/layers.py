"""A network's layers in order, from the stem to the head, and which of them are trained."""

from collections.abc import Callable
from typing import Any

from timm.models import group_parameters
from torch import nn

from decant.models.classifier import Classifier
from decant.models.weights import head_entries


def layer_numbers(backbone: nn.Module) -> dict[str, int]:
    """The layer of each parameter, by name: 0 is the stem, the highest number the head's.

    timm's networks name the parameters of each layer; in other networks, each module with parameters is a layer.
    """
    group_matcher: Callable[..., Any] | None = getattr(backbone, "group_matcher", None)
    if group_matcher is not None:
        groups = group_parameters(backbone, group_matcher(coarse=False))
        numbers = {name: number for number, names in groups.items() for name in names}
    else:
        modules = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in backbone.named_parameters()))
        numbers = {name: modules.index(name.rpartition(".")[0]) for name, _ in backbone.named_parameters()}
    last, head = max(numbers.values()) + 1, head_entries(backbone)
    return {name: last if name in head else number for name, number in numbers.items()}


def train_layers(backbone: nn.Module, frozen: float) -> None:
    """Let the last layers learn; the first get no gradients. frozen: their share of all layers but the head.

    With 1 only the head learns. The norms of frozen layers keep their statistics once `training_mode` is called.
    """
    numbers, head = layer_numbers(backbone), head_entries(backbone)
    first_trained = frozen * max(numbers.values())
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in head or numbers[name] >= first_trained)


def training_mode(classifier: Classifier, freeze_norm: bool) -> None:
    """Switch to training mode, except for the batch norms that keep their stored statistics.

    With `freeze_norm` all batch norms keep them, because a fitted head depends on the stored statistics and those of
    small batches are noisy; else only the norms of frozen layers do.
    """
    classifier.train()
    for module in classifier.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            frozen = module.affine and not module.weight.requires_grad
            module.train(not (freeze_norm or frozen))
