"""The number format of a training step: fp32, or bf16 where it is faster."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from decant.data.preprocessing import height_width
from decant.machine import faster_dtype, may_have_bf16
from decant.models.classifier import Classifier, placed
from decant.study import Training


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """A block in which matrix products have the format `dtype`: fp32 | bf16."""
    if dtype == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def measured_dtype(classifier: Classifier, settings: Training, classes: int, device: torch.device) -> str:
    """The number format in which a training step of this network is faster here, by timing both where bf16 may pay."""
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
