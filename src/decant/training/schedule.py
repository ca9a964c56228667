"""What changes from step to step and from epoch to epoch: learning rate, size of the input, layers that learn."""

import math

from decant.data.preprocessing import InputPx, height_width
from decant.study import Training

ONE_CYCLE_RISE = 0.3  # share of the steps
LOWEST = 1 / 25  # of the peak, where a one-cycle or a cyclic schedule begins
CYCLES = 4
GROWN_AT = 0.6  # share of the epochs after which the input has its full size
PX_STEP, SMALL_PX_STEP = 16, 4
SMALL_PX = 64  # sides below it grow in the smaller steps
UNFREEZING = (1.0, 0.5, 0.25)  # share of frozen layers in each part of `unfreeze_epochs`


def rate_at(settings: Training, step: int, steps: int, epoch_steps: int) -> float:
    """The learning rate of a step as a share of its peak.

    steps: of the whole training; epoch_steps: of one epoch. All schedules except one_cycle start with the warm-up.
    """
    if settings.schedule == "one_cycle":
        return one_cycle(step, steps)
    warmup = round(settings.warmup_epochs * epoch_steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return cyclic(done) if settings.schedule == "cyclic" else half_cosine(done)


def half_cosine(done: float) -> float:
    """From 1 to 0 (Loshchilov & Hutter 2017, without restarts). done: in [0, 1]."""
    return 0.5 * (1 + math.cos(math.pi * done))


def one_cycle(step: int, steps: int) -> float:
    """From LOWEST up to 1 and down to 0, by half cosines (Smith & Topin 2018)."""
    rise = max(1.0, ONE_CYCLE_RISE * steps)
    if step < rise:
        return 1 - (1 - LOWEST) * half_cosine(step / rise)
    return half_cosine((step - rise) / max(1.0, steps - rise))


def cyclic(done: float) -> float:
    """Triangles between LOWEST and a peak that halves in each cycle (Smith 2017, triangular2). done: in [0, 1]."""
    cycle = min(int(done * CYCLES), CYCLES - 1)
    within = done * CYCLES - cycle
    return LOWEST + (1 - abs(2 * within - 1)) * (0.5**cycle - LOWEST)


def size_at(settings: Training, epoch: int) -> InputPx:
    """The size of the input in an epoch: from `grow_from` of `input_px` to all of it, step by step."""
    grown = min(1.0, epoch / max(1.0, GROWN_AT * settings.epochs))
    share = settings.grow_from + (1 - settings.grow_from) * grown
    if isinstance(settings.input_px, int):
        return scaled(settings.input_px, share)
    height, width = settings.input_px
    return scaled(height, share), scaled(width, share)


def scaled(side: int, share: float) -> int:
    """A share of a side, rounded to steps of 16 px, or of 4 px for sides below 64 px, and never above the side."""
    step = PX_STEP if side >= SMALL_PX else SMALL_PX_STEP
    return side if share >= 1 else min(side, max(2, round(side * share / step)) * step)


def frozen_at(settings: Training, epoch: int) -> float:
    """The share of the first layers that does not learn in an epoch; 1: only the head learns (Howard & Ruder 2018)."""
    begun = 0
    for epochs, frozen in zip(settings.unfreeze_epochs, UNFREEZING, strict=False):
        begun += epochs
        if epoch < begun:
            return max(frozen, settings.frozen_layers)
    return settings.frozen_layers


def mean_area(settings: Training) -> float:
    """Mean area of the input over the epochs, as a share of its full area."""
    full = math.prod(height_width(settings.input_px))
    return sum(math.prod(height_width(size_at(settings, epoch))) for epoch in range(settings.epochs)) / (
        full * settings.epochs
    )
