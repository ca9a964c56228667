"""How fast this machine trains: steps of networks with random weights, timed once each."""

import json
import math
import time
from dataclasses import dataclass
from functools import cache

import torch

from decant import machine
from decant.data.preprocessing import height_width
from decant.models.backbones import HUB_PX, blank_classifier, has_fixed_input
from decant.models.classifier import placed
from decant.study import Encoder, Training
from decant.training.number_format import autocast
from decant.training.schedule import mean_area

TIMED_BATCH, TIMED_PX, TIMED_STEPS = 8, 128, 2
FORWARD_SHARE = 0.27  # time of inference over that of a training step


@dataclass(frozen=True)
class Speed:
    """Seconds per image on this machine. decode_s: to read and decode one image."""

    decode_s: float

    def train_s(self, settings: Training | Encoder) -> float:
        """Seconds of training per image, at the settings' input size."""
        arguments = json.dumps(getattr(settings, "model_args", {}), sort_keys=True)
        scale = math.prod(height_width(settings.input_px)) / timed_px(settings.architecture) ** 2
        return step_seconds(settings.architecture, arguments) * scale

    def forward_s(self, settings: Training | Encoder) -> float:
        """Seconds of inference per image, at the settings' input size."""
        return FORWARD_SHARE * self.train_s(settings)

    def epoch_s(self, settings: Training, train: float, val: int) -> float:
        """Seconds of an epoch over `train` images, with the scores on `val` images; the mean of all epochs."""
        return train * mean_area(settings) * self.train_s(settings) + val * (self.decode_s + self.forward_s(settings))


def timed_px(architecture: str) -> int:
    """The side at which a step is timed."""
    return HUB_PX if has_fixed_input(architecture) else TIMED_PX


@cache
def step_seconds(architecture: str, model_args: str = "{}") -> float:
    """Seconds per image of a training step of the network with random weights. model_args: JSON.

    The fastest of a few steps, in fp32 and, where training would try it, bf16.
    """
    device = machine.device()
    with torch.random.fork_rng(devices=[]):
        network = placed(
            blank_classifier(architecture, 10, timed_px(architecture), json.loads(model_args)), device
        ).train()
    images = torch.rand(TIMED_BATCH, 3, *[timed_px(architecture)] * 2, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    for dtype in (("fp32", "bf16") if machine.may_have_bf16(device) else ("fp32",)) * TIMED_STEPS:
        started = time.perf_counter()
        with autocast(dtype, device):
            logits = network(images)
        logits.float().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds) / TIMED_BATCH
