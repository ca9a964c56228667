"""Augmentation of a teacher's own training views beyond those that can be stored: torchvision's RandAugment."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import RandAugment

from decant.training.loop import Augment

OPERATIONS = 2  # per image, as in Cubuk et al. 2020


def rand_augment(magnitude: int) -> Augment:
    """A function that applies RandAugment to each view of uint8 [B, 3, height, width]. magnitude: 0 (none) to 30."""
    if magnitude == 0:
        return lambda views: views
    transform = RandAugment(OPERATIONS, magnitude, fill=[127, 127, 127])

    def augment(views: Tensor) -> Tensor:
        return torch.stack([transform(view) for view in views])

    return augment
