"""The optimiser: which parameters have which learning rate and weight decay."""

import torch
from torch import nn, optim

from decant.models.weights import head_entries
from decant.study import Training
from decant.training.layers import layer_numbers

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def parameter_groups(backbone: nn.Module, settings: Training) -> list[dict[str, object]]:
    """Optimiser groups: one per learning rate, with and without weight decay (norms and biases have none).

    A layer's rate is that of the layer after it times `layer_decay` (Clark et al. 2020, ELECTRA); the head, which has
    the highest number, has `head_lr_factor`. The biases of norms learn `norm_bias_lr_factor` times as fast as their
    layer (Jordan 2024, whose network starts from random weights and trains for minutes, has 64).
    """
    numbers, head, shifts = layer_numbers(backbone), head_entries(backbone), norm_biases(backbone)
    last = max(numbers.values())
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in backbone.named_parameters():
        factor = settings.head_lr_factor if name in head else settings.layer_decay ** (last - numbers[name])
        factor *= settings.norm_bias_lr_factor if name in shifts else 1.0
        groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": settings.weight_decay if decays else 0.0}
        for (factor, decays), parameters in groups.items()
    ]


def norm_biases(backbone: nn.Module) -> set[str]:
    """The names of the biases of all norms."""
    return {f"{name}.bias" for name, module in backbone.named_modules() if isinstance(module, NORMS)}


def make_optimizer(backbone: nn.Module, settings: Training) -> optim.Optimizer:
    """SGD with Nesterov's momentum, or AdamW (Loshchilov & Hutter 2019), over `parameter_groups`."""
    groups = parameter_groups(backbone, settings)
    if settings.optimizer == "sgd":
        return with_momentum(optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True, fused=True))
    return optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def with_momentum(optimizer: optim.SGD) -> optim.SGD:
    """The optimiser with a momentum of zeros for each parameter, which changes no step.

    PyTorch's fused SGD fails if one parameter of a group has a momentum and another one, which was frozen, has none.
    """
    for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def set_rate(optimizer: optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rates of one step: `learning_rate` times each group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]
