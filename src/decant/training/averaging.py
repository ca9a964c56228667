"""Exponential moving average of weights (Polyak & Juditsky 1992)."""

import copy

import torch

from decant.models.classifier import Classifier


class Averaged:
    """`module` is the network to use: the average of the weights, or the trained network itself if `decay` is 0."""

    def __init__(self, classifier: Classifier, decay: float) -> None:
        self.decay = decay
        self.module = classifier if decay == 0 else copy.deepcopy(classifier).requires_grad_(False)

    @torch.no_grad()
    def update(self, classifier: Classifier, step: int) -> None:
        """Update after step `step` (from 0). The decay is lower in early steps, to forget the initial weights."""
        if self.decay == 0:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, new in zip(self.module.state_dict().values(), classifier.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(new, 1 - decay)
            else:
                average.copy_(new)
