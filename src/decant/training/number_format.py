"""The number format of a training step: fp32, or bf16 where it is faster.

On a CPU, oneDNN is so slow in some gradients of depthwise convolutions in bf16 that a whole step would be slower than
in fp32. Those gradients are computed in another way (`bf16_depthwise`).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from decant.data.preprocessing import height_width
from decant.machine import faster_dtype, may_have_bf16
from decant.models.classifier import Classifier, placed
from decant.study import Training
from decant.training.bf16_depthwise import Bf16Depthwise, is_depthwise


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """A block in which matrix products have the format `dtype`: fp32 | bf16."""
    assert dtype in ("fp32", "bf16"), f"dtype {dtype} is not resolved"
    if dtype != "bf16":
        return nullcontext()
    return bf16_on_cpu() if device.type == "cpu" else torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def bf16_on_cpu() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16), FastDepthwiseGradients():
        yield


class FastDepthwiseGradients(TorchFunctionMode):
    """Within the block, depthwise convolutions in bf16 are computed by `Bf16Depthwise`."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.conv2d and is_depthwise(args) and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return Bf16Depthwise.apply(*args)
        return function(*args, **(kwargs or {}))


def measured_dtype(classifier: Classifier, settings: Training, classes: int, device: torch.device) -> str:
    """The number format, fp32 or bf16, in which a training step of this network is faster on this machine."""
    if not may_have_bf16(device):
        return "fp32"
    batch = min(settings.batch_size, 32)
    images = torch.rand(batch, 3, *height_width(settings.input_px), device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch, device=device) % classes
    classifier = placed(classifier, device).train()
    saved = {key: value.clone() for key, value in classifier.state_dict().items()}

    def step(dtype: torch.dtype) -> None:
        with autocast("bf16" if dtype == torch.bfloat16 else "fp32", device):
            logits = classifier(images)
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    chosen = faster_dtype(step)
    classifier.zero_grad(set_to_none=True)
    classifier.load_state_dict(saved)  # the steps changed the running statistics
    return chosen
