"""Stages student and student_alone: the same network, budget and views, with and without the teachers."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decant.data.views import VERSION as VIEW_VERSION
from decant.data.views import ViewSet
from decant.distillation.losses import kd_loss
from decant.distillation.soft_labels import SoftLabelStore
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.seeds import derived_seed
from decant.stages.clean import clean
from decant.stages.ensemble import Weights, active_teachers, ensemble, read_weights
from decant.stages.pixels import pixels
from decant.stages.soft_labels import open_store, pooled_labels, soft_labels, stored_views
from decant.stages.support.auto_settings import resolve, source_digest
from decant.stages.support.experiment import Experiment
from decant.stages.support.linear_head import fit_head
from decant.stages.support.training_data import Labels, training_data
from decant.stages.teacher import new_checkpoint, val_metrics
from decant.study import Student
from decant.training.loop import Criterion, Task, train
from decant.training.supervised import supervised_loss, view_targets
from decant.workspace import StageResult

VERSION = 1


def student(experiment: Experiment) -> StageResult:
    """The distilled student: it learns the pooled soft labels of stored views, and a little of the given ones."""
    combined = ensemble(experiment)
    weights = read_weights(combined)
    stores = {name: soft_labels(experiment, name) for name in active_teachers(weights)}
    return train_student(experiment, "student", [combined, *stores.values()], weights, stores)


def student_alone(experiment: Experiment) -> StageResult:
    """The twin: the same network, initial weights and views, and as many steps, on the given labels alone."""
    return train_student(experiment, "student_alone", [], None, {})


def train_student(
    experiment: Experiment,
    stage: str,
    teachers: list[StageResult],
    weights: Weights | None,
    stores: dict[str, StageResult],
) -> StageResult:
    study = experiment.study
    seed = derived_seed(study.seed, "student")
    asked = resolve(experiment, study.student)
    # The twin hears no teacher: another weight or temperature of their labels does not train it again.
    not_read = {"recipe"} if weights else {"recipe", "hard_weight", "temperature"}
    section = {
        **asked.model_dump(mode="json", exclude=not_read),
        "weights": [source_digest(source) for source in asked.weights],
        "seed": seed,
        "views_stored": study.soft_labels.views,
        "view_version": VIEW_VERSION,
    }
    if asked.head == "probe":
        section["metric"] = study.metric  # chooses how strongly the head is regularised

    def build(folder: Path) -> None:
        data = training_data(experiment)
        labels, classes = data.labels, len(data.manifest.classes)
        views = stored_views(study, data.cache, labels)
        checkpoint = new_checkpoint(experiment, asked, data.manifest.classes, seed)
        settings = asked
        if weights is None:
            settings = twin_settings(settings, len(data.cache), len(labels.labelled))
            rows = labels.labelled
            criterion = supervised_loss(
                views, labels.targets, labels.weight, classes, settings.label_smoothing, settings.balance
            )
        else:
            rows = np.arange(len(data.cache))
            opened = {name: open_store(store) for name, store in stores.items()}
            criterion = distillation_loss(settings, views, labels, classes, opened, weights)
        task = Task(rows, views, criterion, view_of_epoch=lambda epoch: epoch % study.soft_labels.views)
        evaluate = val_metrics(experiment, data.manifest, checkpoint.preprocessing)
        with experiment.track(stage, section) as track:
            if asked.head == "probe":
                fit_head(experiment, data, checkpoint, labels.labelled, folder, track)
            trained = train(
                checkpoint.classifier,
                task,
                settings,
                seed,
                folder,
                evaluate,
                settings.precision,
                experiment.device,
                track,
            )
        save_checkpoint(folder, Checkpoint(trained, checkpoint.classes, checkpoint.preprocessing, checkpoint.card))

    reads = [clean(experiment), pixels(experiment), *teachers]
    return experiment.workspace.stage(stage, section, reads, VERSION, build, resumable=True)


def twin_settings(settings: Student, pictures: int, labelled: int) -> Student:
    """The twin sees labelled pictures only; more epochs give it as many steps as the student, to half an epoch.

    Rounded up, a twin of few epochs would be trained for a good deal longer than the student.
    """
    return settings.model_copy(update={"epochs": max(1, round(settings.epochs * pictures / max(1, labelled)))})


def distillation_loss(
    settings: Student,
    views: ViewSet,
    labels: Labels,
    classes: int,
    stores: dict[str, SoftLabelStore],
    weights: Weights,
) -> Criterion:
    """Distillation from the pool of the teachers' stored labels; rows without a label learn from it alone."""
    ensemble_says = pooled_labels(stores, weights)

    def criterion(logits: Tensor, rows: np.ndarray, view: int) -> Tensor:
        soft = torch.from_numpy(ensemble_says(view, rows))
        hard = given_targets(views, labels, classes, rows, view)
        return kd_loss(
            logits, soft.to(logits.device), hard.to(logits.device), settings.hard_weight, settings.temperature
        )

    return criterion


def given_targets(views: ViewSet, labels: Labels, classes: int, rows: np.ndarray, view: int) -> Tensor:
    """float32 [B, K]: the given labels of a view, a row of zeros where there is none or it is not trusted."""
    known = (labels.targets[rows] >= 0) & (labels.weight[rows] > 0)
    targets = torch.zeros(len(rows), classes)
    if known.any():
        targets[torch.from_numpy(known)] = view_targets(views, labels.targets, classes, rows[known], view)
    return targets
