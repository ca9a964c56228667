"""Learning rates over the steps, and the parameter groups that they apply to."""

import math

from torch import nn, optim

from decant.models.weights import is_head
from decant.study import Training


def rate_at(step: int, steps: int, warmup_steps: int) -> float:
    """The learning rate as a share of its peak: linear warm-up, then a half cosine to 0 (Loshchilov & Hutter 2017)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(backbone: nn.Module, settings: Training) -> list[dict[str, object]]:
    """Optimiser groups: body and head, each with and without weight decay (norms and biases have none)."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in backbone.named_parameters():
        groups.setdefault((is_head(name), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "head": head,
            "factor": settings.head_lr_factor if head else 1.0,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (head, decays), parameters in groups.items()
    ]


def make_optimizer(backbone: nn.Module, settings: Training) -> optim.Optimizer:
    groups = parameter_groups(backbone, settings)
    if settings.optimizer == "sgd":
        return optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    return optim.AdamW(groups, lr=settings.learning_rate)


def set_rate(optimizer: optim.Optimizer, settings: Training, share: float, head_only: bool) -> None:
    """Set the learning rates of one step; with `head_only` the body's rate is 0. share: as from `rate_at`."""
    for group in optimizer.param_groups:
        frozen = head_only and not group["head"]
        group["lr"] = 0.0 if frozen else settings.learning_rate * share * group["factor"]
