"""Stages student and student_alone: the same network and budget, with and without the teachers.

The stage refit_student trains the shipped one of them again with another seed, on all labelled images. A student then
learns the soft labels of the refitted teachers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decant.data.views import VERSION as VIEW_VERSION
from decant.data.views import ViewSet
from decant.distillation.losses import SOFT_LOSSES
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.seeds import derived_seed
from decant.stages.shipped import ALONE, read_choice
from decant.stages.soft_labels import stored_views
from decant.stages.support.auto_settings import resolve, source_digest
from decant.stages.support.ensemble_labels import PooledLabels, ensemble_labels
from decant.stages.support.experiment import Experiment
from decant.stages.support.features import remove_features
from decant.stages.support.input_geometry import geometry_settings, input_geometry
from decant.stages.support.network import fit_head, fit_stem, head_settings, new_checkpoint, val_metrics, without_val
from decant.stages.support.resolve import Inputs, artifacts_read
from decant.stages.support.tracked import model_artifacts, replay, trained_record
from decant.stages.support.training_data import Labels, TrainingData, read_training_data
from decant.study import Student, Study, non_defaults
from decant.tracking import Artifact
from decant.training.loop import Criterion, Task, train
from decant.training.resume import remove_resume
from decant.training.supervised import class_factors, row_weights, supervised_loss, view_targets

VERSION = 6  # 6: steps of the twin counted in whole batches; 5: as version 4 of a teacher
RESUMABLE = True
PARALLEL = True
OF_DISTILLATION = ("mode", "unlabelled", "loss", "standardise", "hard_weight", "temperature")  # not of the twin


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    study, geometry = experiment.study, input_geometry(experiment, inputs["clean"])
    student = resolve(experiment, study.student, geometry)
    values = {
        **non_defaults(student, "recipe", *(OF_DISTILLATION if name == ALONE else ())),
        "weights": [source_digest(source) for source in student.weights],
        "seed": seed_of(experiment, name),
        **({"views_stored": study.soft_labels.views} if student.mode == "replay" and name != ALONE else {}),
        "view_version": VIEW_VERSION,
        **geometry_settings(geometry),
    }
    if student.fits_head or student.keep == "best" or student.patience:
        values["metric"] = study.metric  # chooses how strongly the head is regularised, and the best epoch
    return values | head_settings(student)


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `model.safetensors`, `model.json` and `history.csv`.

    The student learns the ensemble's soft labels of views and, with the weight `hard_weight`, the given labels. Its
    twin starts from the same weights and trains for as many steps on the given labels alone. Epochs show the stored
    views in turn; without stored views, each epoch shows new ones.
    """
    study, geometry = experiment.study, input_geometry(experiment, inputs["clean"])
    student, seed = resolve(experiment, study.student, geometry), seed_of(experiment, name)
    data = read_training_data(inputs, name)
    views = stored_views(study, data.cache, data.labels, geometry)
    checkpoint = new_checkpoint(student, data.manifest.classes, seed, geometry.fit)
    fit_stem(checkpoint, views)
    alone = name == ALONE or ("shipped" in inputs and read_choice(inputs.folder("shipped"))["shipped"] == ALONE)
    rows = data.labels.labelled if alone or not student.unlabelled else np.arange(len(data.cache))
    student = with_steps_of_all(student, len(data.cache), len(rows))
    if alone:
        task = twin_task(study, student, views, data, rows)
    else:
        task = distillation_task(study, student, views, data, rows, ensemble_labels(experiment, student, views, inputs))
    with experiment.track(name, settings(experiment, name, inputs), artifacts_read(experiment, name)) as tracked:
        replay(tracked, folder)
        if student.fits_head:
            fit_head(experiment, student, data, checkpoint, data.labels.labelled, folder, folder, tracked.metrics)
        trained = train(
            checkpoint.classifier,
            task,
            without_val(student, data.chosen),
            seed,
            folder,
            val_metrics(experiment, data, checkpoint.preprocessing),
            experiment.device,
            tracked.metrics,
        )
        save_checkpoint(folder, Checkpoint(trained, checkpoint.classes, checkpoint.preprocessing, checkpoint.card))
        tracked.record(trained_record(name, folder, "", student.keep, study.metric))
    remove_features(folder)
    remove_resume(folder)


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    return model_artifacts(name, folder)


def seed_of(experiment: Experiment, name: str) -> int:
    """The seed of the stage. The twin has the student's; each repetition has another one."""
    study, purpose = experiment.study, "student" if name == ALONE else name
    repetition = [study.student.repetition] if study.student.repetition else []
    return derived_seed(study.seed, purpose, *repetition)


def with_steps_of_all(student: Student, images: int, rows: int) -> Student:
    """The student with as many epochs over `rows` images as give the steps of its `epochs` over all images.

    The numbers of steps agree to half an epoch. An epoch consists of whole batches; counted with its last, incomplete
    batch, a training of few epochs would become much longer.
    """
    of_all, of_rows = (max(1, count // student.batch_size) for count in (images, rows))
    return student.model_copy(update={"epochs": max(1, round(student.epochs * of_all / of_rows))})


def at_epoch(student: Student, epoch: int) -> Student:
    """The student with the hard weight and the temperature of an epoch, counted from 0."""
    share = epoch / max(1, student.epochs - 1)

    def at(setting: float | tuple[float, float]) -> float:
        return setting[0] + share * (setting[1] - setting[0]) if isinstance(setting, tuple) else setting

    return student.model_copy(update={"hard_weight": at(student.hard_weight), "temperature": at(student.temperature)})


def twin_task(study: Study, student: Student, views: ViewSet, data: TrainingData, rows: np.ndarray) -> Task:
    """Cross-entropy with the given labels of the cache rows `rows`."""
    weight = row_weights(data.labels.targets, data.labels.weight, len(data.manifest.classes), student.balance)
    return Task(rows, views, twin_loss(student, views, data), metric=f"val_{study.metric}", weight=weight)


def twin_loss(student: Student, views: ViewSet, data: TrainingData) -> Criterion:
    """Cross-entropy with the given labels."""
    labels, classes = data.labels, len(data.manifest.classes)
    return supervised_loss(views, labels.targets, labels.weight, classes, student)


def distillation_task(
    study: Study, student: Student, views: ViewSet, data: TrainingData, rows: np.ndarray, soft_labels: PooledLabels
) -> Task:
    """`distillation_loss` on views of the cache rows `rows`, with each epoch's hard weight and temperature."""
    classes = len(data.manifest.classes)
    different_views = study.soft_labels.views if student.mode == "replay" else student.epochs

    def criterion_of(epoch: int) -> Criterion:
        return distillation_loss(at_epoch(student, epoch), views, data.labels, classes, soft_labels)

    return Task(
        rows,
        views,
        criterion_of(0),
        lambda epoch: epoch % different_views,
        metric=f"val_{study.metric}",
        weight=distillation_weights(data.labels, classes, student.balance),
        criterion_of_epoch=criterion_of,
    )


def distillation_loss(
    student: Student, views: ViewSet, labels: Labels, classes: int, soft_labels: PooledLabels
) -> Criterion:
    """The loss of distillation from the ensemble's labels of views; rows without a given label learn from these alone.

    The given labels are smoothed and balanced as the twin's. A label's weight in the manifest scales `hard_weight`:
    where cleaning trusts a label less, the soft label counts more. student: of one epoch.
    """
    known = (labels.targets >= 0) & (labels.weight > 0)
    row_weight = torch.from_numpy(distillation_weights(labels, classes, student.balance)).float()
    hard_weight = torch.from_numpy(student.hard_weight * np.where(known, labels.weight.clip(max=1), 1.0)).float()

    def criterion(logits: Tensor, rows: np.ndarray, view: int) -> Tensor:
        soft = torch.from_numpy(soft_labels(view, rows))
        hard = smoothed(given_targets(views, labels, classes, rows, view), student.label_smoothing)
        chosen = torch.from_numpy(rows)
        return SOFT_LOSSES[student.loss](
            logits,
            soft.to(logits.device),
            hard.to(logits.device),
            hard_weight[chosen].to(logits.device),
            student.temperature,
            row_weight[chosen].to(logits.device),
            standardise=student.standardise,
        )

    return criterion


def distillation_weights(labels: Labels, classes: int, balance: float) -> np.ndarray:
    """The weight of each row in the mean of `distillation_loss`, float64 [n]: 1 for a row without a trusted label."""
    known = (labels.targets >= 0) & (labels.weight > 0)
    return np.where(known, class_factors(labels.targets, classes, balance)[labels.targets], 1.0)


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """Label smoothing (Szegedy et al. 2016) of targets [B, K]; a row of zeros, which has no label, stays zero."""
    return targets * (1 - smoothing) + smoothing / targets.shape[1] * (targets.sum(dim=1, keepdim=True) > 0)


def given_targets(views: ViewSet, labels: Labels, classes: int, rows: np.ndarray, view: int) -> Tensor:
    """float32 [B, K]: the given labels of a view; a row of zeros where there is no label or its weight is 0."""
    known = (labels.targets[rows] >= 0) & (labels.weight[rows] > 0)
    targets = torch.zeros(len(rows), classes)
    if known.any():
        targets[torch.from_numpy(known)] = view_targets(views, labels.targets, classes, rows[known], view)
    return targets
