"""A network that normalises its own input, so that mean and std are always stored with the weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """A backbone that is preceded by its input normalisation.

    forward: float32 [B, 3, height, width], RGB in [0, 1] -> logits [B, K].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        return (images - self.mean.view(1, 3, 1, 1)) / self.std.view(1, 3, 1, 1)


def placed(classifier: Classifier, device: torch.device) -> Classifier:
    """The classifier on `device`, weights in channels-last order: a CPU training step is then nearly twice as fast."""
    return classifier.to(device).to(memory_format=torch.channels_last)
