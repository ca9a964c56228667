"""Weights used in place of the last step's: a moving average, the best epoch's, the mean of several epochs'."""

import copy

import torch
from torch import Tensor

from decant.models.classifier import Classifier
from decant.study import Training

State = dict[str, Tensor]


class Averaged:
    """`module` is the network to use: the mean of the weights after every step (Polyak & Juditsky 1992).

    After as many steps as its horizon, `share` of all `steps`, the mean goes on as an exponential moving average, which
    forgets earlier weights. With `share` 0 `module` is the trained network itself.
    """

    def __init__(self, classifier: Classifier, share: float, steps: int) -> None:
        self.decay = 0.0 if share == 0 else max(0.0, 1 - 1 / (share * steps))
        self.module = classifier if share == 0 else copy.deepcopy(classifier).requires_grad_(False)

    @torch.no_grad()
    def update(self, classifier: Classifier, step: int) -> None:
        """Update after step `step` (from 0)."""
        if self.module is classifier:
            return
        decay = min(self.decay, step / (step + 1))
        for average, new in zip(self.module.state_dict().values(), classifier.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(new, 1 - decay)
            else:
                average.copy_(new)


class Kept:
    """The weights of earlier epochs that `keep` of a recipe asks for, in `state`: empty before the first such epoch.

    best: those of the epoch with the highest metric on val. soup: the mean over the last `soup_epochs` (Izmailov et
    al. 2018; Wortsman et al. 2022).
    """

    def __init__(self, settings: Training, metric: str) -> None:
        self.settings, self.metric = settings, metric
        self.state: State = {}

    def update(self, classifier: Classifier, history: list[dict[str, float]]) -> None:
        """Update after the epoch that is last in `history`."""
        if self.settings.keep == "best" and best_epoch(history, self.metric) == len(history) - 1:
            self.state = {key: value.clone() for key, value in classifier.state_dict().items()}
        souped = len(history) - (self.settings.epochs - self.settings.soup_epochs)  # epochs in the mean, with this one
        if self.settings.keep == "soup" and souped > 0:
            self.state = mean_of(self.state, classifier.state_dict(), souped)

    def load_into(self, classifier: Classifier) -> None:
        """Replace the weights by the kept ones, if there are any."""
        if self.state:
            classifier.load_state_dict(self.state)


def mean_of(mean: State, new: State, count: int) -> State:
    """The mean of `count` states. mean: of all but the last. new: the last; counters are taken from it."""
    if count == 1 or not mean:
        return {key: value.clone() for key, value in new.items()}
    return {
        key: mean[key].lerp(value, 1 / count) if value.is_floating_point() else value.clone()
        for key, value in new.items()
    }


def best_epoch(history: list[dict[str, float]], metric: str) -> int:
    """The first epoch (from 0) with the highest metric; the likelihood on val decides ties."""
    return max(range(len(history)), key=lambda epoch: (history[epoch][metric], -history[epoch].get("val_nll", 0.0)))
