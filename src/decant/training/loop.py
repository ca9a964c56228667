"""The training loop, complete in this file.

All random numbers depend on seed, epoch and step only. A killed run therefore continues after its last finished epoch
and ends with the same weights, bit for bit on the CPU of one machine.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from decant.data.pool import parallel
from decant.data.preprocessing import height_width
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.models.classifier import Classifier, placed
from decant.models.folded_norms import Pairs, foldable_pairs, folded_norms
from decant.models.padded_depthwise import padded_depthwise
from decant.processes import Team, team
from decant.study import Training
from decant.tracking import Metrics, progress
from decant.training.averaging import Averaged, Kept, best_epoch
from decant.training.layers import train_layers, training_mode
from decant.training.number_format import autocast
from decant.training.optimizer import make_optimizer, set_rate
from decant.training.resume import Resume
from decant.training.schedule import frozen_at, rate_at, size_at
from decant.workspace import write_csv

log = logging.getLogger(__name__)
Criterion = Callable[[Tensor, np.ndarray, int], Tensor]  # logits [B, K], cache rows [B], view number -> scalar
Evaluate = Callable[[Classifier], dict[str, float]]
ViewOfEpoch = Callable[[int], int]
Augment = Callable[[Tensor], Tensor]
LARGEST_GRADIENT = 5.0  # norm of the gradient of all parameters
LEAST_WEIGHT = 1e-6  # of a batch: all its rows may have the weight 0


@dataclass(frozen=True)
class Task:
    """What to learn: the cache rows (int64 [n]), their views, and the loss of the logits of a view.

    probability: float [n], sum 1, to draw rows with; None: each row once per epoch. augment: changes uint8 views [B, 3,
    height, width] further, with torch's random numbers. metric: of `Evaluate`, chooses the best epoch. weight: float
    [len(cache)], the weight of each row in the mean that the criterion is; None: all the same. criterion_of_epoch: the
    criterion of an epoch, counted from 0, where it changes.
    """

    rows: np.ndarray
    views: ViewSet
    criterion: Criterion
    view_of_epoch: ViewOfEpoch = lambda epoch: epoch
    probability: np.ndarray | None = None
    augment: Augment = lambda views: views
    metric: str = "val_accuracy"
    weight: np.ndarray | None = None
    criterion_of_epoch: Callable[[int], Criterion] | None = None

    def at(self, epoch: int) -> "Task":
        """The task in an epoch."""
        return self if self.criterion_of_epoch is None else replace(self, criterion=self.criterion_of_epoch(epoch))

    def share(self, part: np.ndarray, whole: np.ndarray) -> float:
        """The share of the rows `part` in the weighted mean over the rows `whole`, which contain them."""
        if self.weight is None:
            return len(part) / len(whole)
        return float(self.weight[part].sum() / max(float(self.weight[whole].sum()), LEAST_WEIGHT))


def train(
    classifier: Classifier,
    task: Task,
    settings: Training,
    seed: int,
    folder: Path,
    evaluate: Evaluate,
    device: torch.device,
    track: Metrics,
) -> Classifier:
    """Train in place and return the network to use: averaged if `ema_share` is set, of the epochs that `keep` names.

    Writes `folder/history.csv` and `folder/resume.safetensors`, from which a later call with the same arguments
    continues; after the last epoch it returns the network at once. The caller stores the network, then calls
    `remove_resume`. evaluate: metrics on val of the network to use, called after each epoch. The dtype of `settings` is
    fp32 or bf16. Raises UserError with advice if the loss is not finite.
    """
    classifier = placed(classifier, device)
    epoch_steps = len(epoch_rows(task.rows, settings.batch_size, seed, 0))
    steps = settings.epochs * epoch_steps
    averaged = Averaged(classifier, settings.ema_share, steps)
    kept = Kept(settings, task.metric)
    optimizer = make_optimizer(classifier.backbone, settings)
    state = Resume(folder, classifier, averaged, kept, optimizer)
    history = state.load()
    pairs = foldable_pairs(classifier, height_width(settings.input_px)) if device.type == "cpu" else []
    micro = MicroBatch(settings.micro_batch or settings.batch_size)
    for epoch in range(len(history), settings.epochs):
        if stops_early(history, settings.patience, task.metric):
            log.info("stopped after epoch %d: no better %s in %d epochs", epoch, task.metric, settings.patience)
            break
        started = time.monotonic()
        train_layers(classifier.backbone, frozen_at(settings, epoch))
        training_mode(classifier, settings.freeze_norm)
        batches = epoch_rows(task.rows, settings.batch_size, seed, epoch, task.probability)
        losses, epoch_task = [], task.at(epoch)
        with fast_layers(classifier, pairs, device):
            for index, batch in enumerate(rendered(task, batches, epoch, settings)):
                step = epoch * epoch_steps + index
                set_rate(optimizer, settings.learning_rate * rate_at(settings, step, steps, epoch_steps))
                random_seed = step_seed(seed, step, team().rank)
                losses.append(train_step(classifier, optimizer, epoch_task, batch, micro, random_seed, settings.dtype))
                averaged.update(classifier, step)
        loss = check_finite(float(torch.stack(losses).mean()), epoch, settings)
        rate = epoch_steps * len(batches[0]) / (time.monotonic() - started)
        metrics = evaluate(averaged.module)
        history.append({"epoch": epoch + 1, "loss": round(loss, 5), **metrics, "images_per_second": round(rate, 1)})
        kept.update(averaged.module, history)
        log.info("%s", epoch_line(history[-1], settings.epochs))
        write_csv(folder / "history.csv", history)
        state.save(history)
        track(history[-1])  # last: it may raise to stop the training, which then continues after this epoch
    train_layers(classifier.backbone, frozen=0)
    kept.load_into(averaged.module)
    return averaged.module


@dataclass(frozen=True)
class Batch:
    """Views of cache rows: uint8 [B, 3, height, width], with their view number. whole: the rows of all processes."""

    rows: np.ndarray
    whole: np.ndarray
    view: int
    views: Tensor


@dataclass
class MicroBatch:
    """How many images are in one forward pass; halved when a GPU's memory is short."""

    size: int


def rendered(task: Task, batches: list[np.ndarray], epoch: int, settings: Training) -> Iterator[Batch]:
    """The batches of an epoch; while the network learns from one, a thread renders the next."""
    view, size = task.view_of_epoch(epoch), size_at(settings, epoch)
    part = team().part  # not in the thread, which does not know the other processes

    def render(whole: np.ndarray) -> Batch:
        return Batch(whole[part], whole, view, task.views.render(whole[part], view, size))

    batches_of_views = parallel(render, batches, workers=1, ahead=2)
    yield from progress(batches_of_views, f"epoch {epoch + 1}/{settings.epochs}", len(batches), "batch")


def train_step(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    task: Task,
    batch: Batch,
    micro: MicroBatch,
    seed: int,
    dtype: str,
) -> Tensor:
    """One step on one batch; returns the detached loss. seed: of dropout, stochastic depth and `augment`.

    Where a GPU's memory is short, `micro` is halved. Raises UserError if one image is too large.
    """
    while True:
        optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(seed)
        try:
            loss = compute_gradients(classifier, task, batch, micro.size, dtype)
            break
        except torch.OutOfMemoryError as error:
            if micro.size == 1:
                raise UserError(
                    "the memory of the GPU is too small for one image: end what else runs on it, or take a smaller "
                    "input_px or architecture"
                ) from error
        micro.size = (min(micro.size, len(batch.rows)) + 1) // 2
        log.warning("the memory is too small; from now on %d images are in one forward pass", micro.size)
    gradients = [parameter.grad for parameter in classifier.parameters() if parameter.grad is not None]
    team().add([loss, *gradients])
    average_norms(classifier, team())
    torch.nn.utils.clip_grad_norm_(classifier.parameters(), LARGEST_GRADIENT)
    optimizer.step()
    return loss


def compute_gradients(classifier: Classifier, task: Task, batch: Batch, size: int, dtype: str) -> Tensor:
    """Add the gradients of this process's part of a batch, `size` images at a time; return the part of the loss."""
    device = classifier.mean.device
    views, total = task.augment(batch.views), torch.zeros((), device=device)
    for start in range(0, len(batch.rows), size):
        part = slice(start, start + size)
        rows = batch.rows[part]
        with autocast(dtype, device):
            logits = classifier(network_input(views[part], device))
        loss = task.criterion(logits.float(), rows, batch.view) * task.share(rows, batch.whole)
        loss.backward()
        total += loss.detach()
    return total


def average_norms(classifier: Classifier, team: Team) -> None:
    """Give the trained batch norms the mean of the processes' statistics; each process has seen other images."""
    if team.count == 1:
        return
    norms = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
    team.add(statistics)
    for value in statistics:
        value.div_(team.count)


def network_input(views: Tensor, device: torch.device) -> Tensor:
    """uint8 [B, 3, height, width] views as float32 in [0, 1], channels last."""
    return views.to(device, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)


@contextmanager
def fast_layers(classifier: Classifier, pairs: Pairs, device: torch.device) -> Iterator[None]:
    """On a CPU, compute some layers in a faster way within the block, with the same results up to rounding."""
    if device.type != "cpu":
        yield
        return
    with folded_norms(classifier, with_fixed_norms(classifier, pairs)), padded_depthwise(classifier):
        yield


def with_fixed_norms(classifier: Classifier, pairs: Pairs) -> Pairs:
    """The pairs whose norm keeps its statistics at this time."""
    modules = dict(classifier.named_modules())
    return [pair for pair in pairs if not modules[pair[1]].training]


def epoch_rows(
    rows: np.ndarray, batch_size: int, seed: int, epoch: int, probability: np.ndarray | None = None
) -> list[np.ndarray]:
    """The epoch's batches: a permutation from seed and epoch; an incomplete last batch is left out.

    probability: [n], sum 1; the rows are then drawn independently, and a row may be drawn several times.
    """
    # The epoch is the highest word of the counter: streams whose lowest words differ by one share nearly all numbers.
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, epoch]))
    order = generator.permutation(rows) if probability is None else generator.choice(rows, len(rows), p=probability)
    whole = max(1, len(order) // batch_size)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(whole)]


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of a step's random numbers, which differ between processes."""
    return int(np.random.SeedSequence([seed, step, *([rank] if rank else [])]).generate_state(1)[0])


def stops_early(history: list[dict[str, Any]], patience: int, metric: str) -> bool:
    """True if the last `patience` epochs were not better than the best before them; never with patience 0."""
    return patience > 0 and len(history) > 0 and len(history) - 1 - best_epoch(history, metric) >= patience


def check_finite(loss: float, epoch: int, settings: Training) -> float:
    """The loss. Raises UserError with advice if it is not finite. epoch: counted from 0."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} in epoch {epoch + 1}: try learning_rate={settings.learning_rate / 3:.2g}, "
            f"a longer warm-up (warmup_epochs={settings.warmup_epochs + 1:g}) or dtype=fp32"
        )
    return loss


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    metrics = "".join(f", {key} {value:.4f}" for key, value in row.items() if key.startswith("val_"))
    return f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}{metrics}, {row['images_per_second']} images/s"
