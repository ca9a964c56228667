"""The time of each part of a training step, by torch's profiler."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from decant.training import loop
from decant.training.averaging import Averaged

VIEWS = "views"
STEP, AVERAGE, CLIPPING, OTHER = "training step", "average of weights", "clipping", "other"
# Regions come first: what happens inside them belongs to them. Of the rest, the nearest operator with a part decides,
# so that the copies inside a convolution belong to the convolution.
REGIONS = {
    VIEWS: re.compile(f"^{VIEWS}$"),
    AVERAGE: re.compile(f"^{AVERAGE}$"),
    CLIPPING: re.compile(f"^{CLIPPING}$"),
    "optimiser": re.compile(r"^Optimizer\.(step|zero_grad)"),
}
OPERATORS = {
    "convolution backward": re.compile(r"(conv\w*?_?|depthwise)backward", re.IGNORECASE),
    "convolution forward": re.compile(r"^aten::\w*conv(2d|olution)|^Bf16Depthwise$", re.IGNORECASE),
    "matrix products": re.compile(r"^aten::(linear|matmul|\w*mm)$|mmbackward|scaled_?dot_?product", re.IGNORECASE),
    "norms": re.compile(r"(batch|layer|group)_?norm", re.IGNORECASE),
    "activations": re.compile(r"relu|hardtanh|gelu|silu|hardswish|sigmoid", re.IGNORECASE),
}
PARTS = (*OPERATORS, *REGIONS, OTHER)  # matrix products include attention


def step_parts(train: Callable[[], object]) -> dict[str, float]:
    """Part -> milliseconds per step, for PARTS without `views`, in the training that `train` starts.

    `train` must call `decant.training.loop.train` on the CPU. Evaluation is not counted.
    """
    with (
        in_region(loop, "train_step", STEP),
        in_region(Averaged, "update", AVERAGE),
        in_region(torch.nn.utils, "clip_grad_norm_", CLIPPING),
        profile(activities=[ProfilerActivity.CPU]) as profiler,
    ):
        train()
    times: Counter[str] = Counter()
    events = profiler.events()
    for event in events:
        times[part_of(event)] += event.self_cpu_time_total
    steps = sum(event.name == STEP for event in events)
    return {part: times[part] / 1000 / steps for part in PARTS if part != VIEWS}


@contextmanager
def in_region(owner: Any, name: str, region: str) -> Iterator[None]:
    """Within the block, calls of the function `name` of `owner` are a region of the profile."""
    function = getattr(owner, name)

    @wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        with record_function(region):
            return function(*arguments, **options)

    with ExitStack() as stack:
        stack.callback(setattr, owner, name, function)
        setattr(owner, name, wrapped)
        yield


def part_of(event: Any) -> str:
    """The part of an event of the profiler; "" if it is not part of a step."""
    names = [event.name]
    while event.cpu_parent is not None:
        event = event.cpu_parent
        names.append(event.name)
    for part, pattern in REGIONS.items():
        if any(pattern.search(name) for name in names):
            return part
    if STEP not in names:
        return ""
    backward = "convolution backward"
    if any(OPERATORS[backward].search(name) for name in names):  # the gradient of an input may be a convolution itself
        return backward
    for name in names:
        for part, pattern in OPERATORS.items():
            if pattern.search(name):
                return part
    return OTHER
