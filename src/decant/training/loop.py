"""The training loop, complete in this file.

All random numbers depend on seed, epoch and step only. A killed run therefore continues after its last finished epoch
and ends with the same weights, bit for bit on the CPU of one machine.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from decant.data.preprocessing import InputPx, height_width
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.machine import faster_dtype, may_have_bf16
from decant.models.classifier import Classifier, placed
from decant.study import Training
from decant.tracking import Log, progress
from decant.training.averaging import Averaged
from decant.training.schedule import make_optimizer, rate_at, set_rate
from decant.workspace import replacing, write_csv

log = logging.getLogger(__name__)
Criterion = Callable[[Tensor, np.ndarray, int], Tensor]  # logits [B, K], cache rows [B], view number -> scalar
Evaluate = Callable[[Classifier], dict[str, float]]
ViewOfEpoch = Callable[[int], int]


@dataclass(frozen=True)
class Task:
    """What to learn: the cache rows (int64 [n]), their views, and the loss of the logits of a view."""

    rows: np.ndarray
    views: ViewSet
    criterion: Criterion
    view_of_epoch: ViewOfEpoch = lambda epoch: epoch


def train(
    classifier: Classifier,
    task: Task,
    settings: Training,
    seed: int,
    folder: Path,
    evaluate: Evaluate,
    dtype: str,
    device: torch.device,
    track: Log,
) -> Classifier:
    """Train in place and return the network to use (the averaged one if `ema_decay` is set).

    Writes `folder/history.csv` and, while unfinished, `folder/resume.safetensors`, from which a later call with the
    same arguments continues. evaluate: metrics on val of the network to use, after each epoch. dtype: fp32 | bf16.
    Raises UserError with advice if the loss is not finite.
    """
    classifier = placed(classifier, device)
    averaged = Averaged(classifier, settings.ema_decay)
    optimizer = make_optimizer(classifier.backbone, settings)
    state = Resume(folder, classifier, averaged, optimizer)
    history = state.load()
    steps = len(epoch_rows(task.rows, settings.batch_size, seed, 0))
    for epoch in range(len(history), settings.epochs):
        started = time.monotonic()
        training_mode(classifier, settings.freeze_norm)
        losses = []
        batches = epoch_rows(task.rows, settings.batch_size, seed, epoch)
        for step, rows in enumerate(progress(batches, f"epoch {epoch + 1}/{settings.epochs}", unit="batch")):
            step_index = epoch * steps + step
            share = rate_at(step_index, settings.epochs * steps, round(settings.warmup_epochs * steps))
            set_rate(optimizer, settings, share, head_only=epoch < settings.freeze_epochs)
            torch.manual_seed(step_seed(seed, step_index))  # dropout and stochastic depth
            losses.append(train_step(classifier, optimizer, task, rows, epoch, settings.input_px, dtype, device))
            averaged.update(classifier, step_index)
        loss = check_finite(float(torch.stack(losses).mean()), epoch, settings)
        seconds = time.monotonic() - started
        metrics = evaluate(averaged.module)
        rate = steps * min(settings.batch_size, len(task.rows)) / seconds
        history.append({"epoch": epoch + 1, "loss": round(loss, 5), **metrics, "images_per_second": round(rate, 1)})
        log.info("%s", epoch_line(history[-1], settings.epochs))
        write_csv(folder / "history.csv", history)
        state.save(history)
        track(history[-1])  # last: it may raise to stop the training, which then continues after this epoch
    state.clear()
    return averaged.module


def training_mode(classifier: Classifier, freeze_norm: bool) -> None:
    """Switch to training mode; with `freeze_norm`, batch norms use their stored statistics and do not update them.

    A fitted head depends on the stored statistics, and those of small batches are noisy.
    """
    classifier.train()
    if freeze_norm:
        for module in classifier.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()


def train_step(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    task: Task,
    rows: np.ndarray,
    epoch: int,
    size: InputPx,
    dtype: str,
    device: torch.device,
) -> Tensor:
    """One step on one batch; returns the detached loss."""
    view = task.view_of_epoch(epoch)
    images = network_input(task.views.render(rows, view, size), device)
    with autocast(dtype, device):
        logits = classifier(images)
    loss = task.criterion(logits.float(), rows, view)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(classifier.parameters(), 5.0)
    optimizer.step()
    return loss.detach()


def network_input(views: Tensor, device: torch.device) -> Tensor:
    """uint8 [B, 3, height, width] views as float32 in [0, 1], channels last."""
    return views.to(device, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
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


def epoch_rows(rows: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The epoch's batches: a permutation from seed and epoch; an incomplete last batch is left out."""
    # The epoch is the highest word of the counter: streams whose lowest words differ by one share nearly all numbers.
    order = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, epoch])).permutation(rows)
    whole = max(1, len(order) // batch_size)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(whole)]


def step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def check_finite(loss: float, epoch: int, settings: Training) -> float:
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} in epoch {epoch + 1}: try learning_rate={settings.learning_rate / 3:.2g}, "
            f"a longer warm-up (warmup_epochs={settings.warmup_epochs + 1:g}) or dtype=fp32"
        )
    return loss


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    metrics = ", ".join(f"{key} {value:.4f}" for key, value in row.items() if key.startswith("val_"))
    return f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}, {metrics}, {row['images_per_second']} images/s"


class Resume:
    """An unfinished training in `folder`: network, average, optimiser and history, in one atomic file."""

    def __init__(
        self, folder: Path, classifier: Classifier, averaged: Averaged, optimizer: torch.optim.Optimizer
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "resume.safetensors"
        self.classifier, self.averaged, self.optimizer = classifier, averaged, optimizer

    def save(self, history: list[dict[str, Any]]) -> None:
        tensors = {f"network.{key}": value for key, value in self.classifier.state_dict().items()}
        if self.averaged.module is not self.classifier:
            tensors |= {f"average.{key}": value for key, value in self.averaged.module.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        with replacing(self.path) as beside:
            plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
            save_file(plain, beside, metadata={"history": json.dumps(history)})

    def load(self) -> list[dict[str, Any]]:
        """Restore everything and return the history; an empty one if there is nothing to continue."""
        if not self.path.is_file():
            return []
        try:
            tensors = load_file(self.path)
        except SafetensorError:
            log.warning("%s is damaged; training starts from the beginning", self.path)
            return []
        self.classifier.load_state_dict(with_prefix(tensors, "network."))
        if self.averaged.module is not self.classifier:
            self.averaged.module.load_state_dict(with_prefix(tensors, "average."))
        state = self.optimizer.state_dict()
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in with_prefix(tensors, "optimizer.").items():
            index, _, slot = key.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": state["param_groups"]})
        history: list[dict[str, Any]] = json.loads(history_of(self.path))
        log.info("continuing after epoch %d", len(history))
        return history

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose key starts with `prefix`, under the rest of the key."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def history_of(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["history"])
