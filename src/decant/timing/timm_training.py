"""timm's training loop on a folder of images, as in its script train.py, which is not part of the package.

Data set, loader, augmentation, loss, optimiser, schedule, clipping and average of the weights are timm's own; the order
of the steps is that of `train_one_epoch` in train.py. Not in the time of either loop: evaluation and checkpoints.
"""

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from timm.data import create_dataset, create_loader
from timm.layers import freeze_batch_norm_2d
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import model_parameters
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, ModelEmaV3, dispatch_clip_grad

from decant.data.preprocessing import height_width
from decant.models.backbones import build_classifier
from decant.study import Training

LARGEST_GRADIENT = 5.0  # norm at which gradients are clipped, as in decant's loop
AVERAGE_DECAY = 0.99  # the time of a step does not depend on it
SCHEDULED_EPOCHS = 100


@dataclass(frozen=True)
class Flags:
    """Options of train.py that change the speed and, except for rounding, not the result."""

    workers: int = 1
    channels_last: bool = True
    prefetcher: bool = True  # normalises and erases whole batches
    fused: bool = False  # --opt-kwargs fused=True
    bf16: bool = False  # --amp --amp-dtype bfloat16
    compiled: bool = False  # --torchcompile

    def text(self) -> str:
        """The flags in words, for a table."""
        switches = [field.name.replace("_", " ") for field in fields(self) if getattr(self, field.name) is True]
        return ", ".join([f"workers {self.workers}", *switches])


def alternatives(may_have_bf16: bool, may_compile: bool) -> list[list[dict[str, Any]]]:
    """The other values of each flag, one list per flag, as changes of `Flags`."""
    changes: list[list[dict[str, Any]]] = [[{"workers": 0}, {"workers": 2}]]
    changes += [[{"channels_last": False}], [{"prefetcher": False}], [{"fused": True}]]
    changes += [[{"bf16": True}]] if may_have_bf16 else []
    return changes + ([[{"compiled": True}]] if may_compile else [])


class TimmTraining:
    """A network of random weights with everything that its training needs.

    photos: folder with `train/<class>/`. settings: architecture, input, batch size, rates and views, as in a recipe of
    decant; rotation and mixing of views are left out.
    """

    def __init__(self, photos: Path, settings: Training, flags: Flags) -> None:
        torch.manual_seed(0)
        self.flags = flags
        dataset = create_dataset("", root=str(photos), split="train", is_training=True)
        classes = len(dataset.reader.class_to_idx)
        classifier, _ = build_classifier(settings.architecture, classes, settings.input_px, ["none"], 0)
        self.loader = training_loader(dataset, settings, flags, classifier.mean.tolist(), classifier.std.tolist())
        network: Any = classifier.backbone
        if settings.freeze_norm:
            network = freeze_batch_norm_2d(network)
        if flags.channels_last:
            network = network.to(memory_format=torch.channels_last)
        options: dict[str, Any] = {"fused": True} if flags.fused else {}
        self.optimizer = create_optimizer_v2(
            network, opt="adamw", lr=settings.learning_rate, weight_decay=settings.weight_decay, **options
        )
        self.average = ModelEmaV3(network, decay=AVERAGE_DECAY)
        self.network: Any = torch.compile(network) if flags.compiled else network
        self.loss = LabelSmoothingCrossEntropy(smoothing=settings.label_smoothing)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer, num_epochs=SCHEDULED_EPOCHS, updates_per_epoch=len(self.loader), step_on_epochs=False
        )
        self.updates = 0

    def epoch(self, steps: int | None = None) -> float:
        """Images per second of one epoch of training, or of its first `steps`.

        The clock starts when the first batch is ready, because in a longer epoch the wait for it would not count. This
        favours timm's loop.
        """
        self.network.train()
        losses, started, done = AverageMeter(), 0.0, 0
        for images, targets in self.loader:
            started = started or time.perf_counter()
            self.step(images, targets, losses)
            done += len(images)
            if steps and done >= steps * len(images):
                break
        return done / (time.perf_counter() - started)

    def step(self, images: torch.Tensor, targets: torch.Tensor, losses: AverageMeter) -> None:
        """One step. images: float32 [B, 3, H, W], normalised. targets: int64 [B]."""
        if self.flags.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.flags.bf16):
            loss = self.loss(self.network(images), targets)
        loss.backward()
        dispatch_clip_grad(model_parameters(self.network), value=LARGEST_GRADIENT, mode="norm")
        self.optimizer.step()
        losses.update(loss.item(), len(images))
        self.updates += 1
        self.optimizer.zero_grad()
        self.average.update(self.network, step=self.updates)
        self.scheduler.step_update(num_updates=self.updates, metric=losses.avg)


def training_loader(dataset: Any, settings: Training, flags: Flags, mean: list[float], std: list[float]) -> Any:
    """timm's loader with the augmentations of decant's views: crop, flip, colour and erasing."""
    views = settings.views
    colour: Any = (views.brightness, views.contrast, views.saturation)
    return create_loader(
        dataset,
        input_size=(3, *height_width(settings.input_px)),
        batch_size=settings.batch_size,
        is_training=True,
        scale=views.scale,
        ratio=views.ratio,
        hflip=views.flip,
        color_jitter=colour,
        re_prob=views.erase,
        re_mode="rand",
        interpolation="bilinear",  # the fastest of timm's
        mean=tuple(mean),
        std=tuple(std),
        num_workers=flags.workers,
        use_prefetcher=flags.prefetcher,
        device=torch.device("cpu"),
    )
