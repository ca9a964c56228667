"""The learning-rate range test (Smith 2017): the loss while the rate rises from step to step."""

import math

import numpy as np
import torch

from decant.models.classifier import Classifier, placed
from decant.study import Training
from decant.tracking import progress
from decant.training.layers import train_layers, training_mode
from decant.training.loop import Batch, MicroBatch, Task, epoch_rows, step_seed, train_step
from decant.training.optimizer import make_optimizer, set_rate

LOWEST_RATE, HIGHEST_RATE = 1e-6, 1.0
STEPS = 100
MEMORY = 0.9  # of the smoothed loss
DIVERGED = 3.0  # times the lowest smoothed loss
BELOW_MINIMUM = 10.0  # the rate of the lowest loss over the suggested rate


def rate_range(
    classifier: Classifier,
    task: Task,
    settings: Training,
    seed: int,
    device: torch.device,
    steps: int = STEPS,
) -> list[dict[str, float]]:
    """Rows `learning_rate, loss, smoothed` of a training whose rate rises from LOWEST_RATE to HIGHEST_RATE.

    The network is changed. The training stops when the loss is not finite, or the smoothed loss is DIVERGED times its
    lowest value. The head's and the layers' own factors apply as in the recipe.
    """
    classifier = placed(classifier, device)
    train_layers(classifier.backbone, settings.frozen_layers)
    training_mode(classifier, settings.freeze_norm)
    optimizer = make_optimizer(classifier.backbone, settings)
    micro = MicroBatch(settings.micro_batch or settings.batch_size)
    per_epoch = len(epoch_rows(task.rows, settings.batch_size, seed, 0))
    rows: list[dict[str, float]] = []
    average = 0.0
    for step in progress(range(steps), "range of learning rates", unit="steps"):
        epoch, index = divmod(step, per_epoch)
        rows_of_batch = epoch_rows(task.rows, settings.batch_size, seed, epoch, task.probability)[index]
        view = task.view_of_epoch(epoch)
        batch = Batch(rows_of_batch, rows_of_batch, view, task.views.render(rows_of_batch, view, settings.input_px))
        rate = LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (step / max(1, steps - 1))
        set_rate(optimizer, rate)
        loss = float(train_step(classifier, optimizer, task, batch, micro, step_seed(seed, step), settings.dtype))
        average = MEMORY * average + (1 - MEMORY) * loss
        smoothed = average / (1 - MEMORY ** (step + 1))
        rows.append({"learning_rate": rate, "loss": loss, "smoothed": smoothed})
        if not math.isfinite(loss) or smoothed > DIVERGED * min(row["smoothed"] for row in rows):
            break
    return rows


def suggested_rate(rows: list[dict[str, float]]) -> float:
    """A peak learning rate: a tenth of the rate at which the smoothed loss is lowest."""
    smoothed = np.array([row["smoothed"] for row in rows])
    return rows[int(np.nanargmin(smoothed))]["learning_rate"] / BELOW_MINIMUM
