"""Stage teachers/NAME: train one teacher, whole or out of fold: fine-tune a network or fit a linear probe.

The stage refit_teachers/NAME does the same with another seed, on all labelled images and with the choices of
teachers/NAME.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from decant.data.geometry import InputGeometry
from decant.data.manifest import read_manifest
from decant.data.splits import folds
from decant.data.views import VERSION as VIEW_VERSION
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.seeds import derived_seed
from decant.stages.support.auto_settings import resolve, resolve_epochs, source_digest
from decant.stages.support.experiment import Experiment
from decant.stages.support.features import remove_features
from decant.stages.support.input_geometry import geometry_settings, input_geometry
from decant.stages.support.network import fit_head, fit_stem, head_settings, new_checkpoint, val_metrics, without_val
from decant.stages.support.resolve import Inputs, artifacts_read
from decant.stages.support.tracked import model_artifacts, replay, trained_record
from decant.stages.support.training_data import Labels, TrainingData, auxiliary_labels, read_training_data
from decant.study import Teacher, non_defaults
from decant.tracking import Artifact, Metrics
from decant.training.augmentation import rand_augment
from decant.training.auxiliary import narrow, of_first_outputs, widen, with_auxiliary
from decant.training.loop import Task, train
from decant.training.rate_range import rate_range
from decant.training.resume import remove_resume
from decant.training.supervised import equal_class_probability, row_weights, supervised_loss
from decant.workspace import write_json

log = logging.getLogger(__name__)
VERSION = 4  # 4: bf16 on a CPU has depthwise gradients in fp32; 3: ema_share is the horizon, depthwise padding on a CPU
RESUMABLE = True
PARALLEL = True


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    geometry = input_geometry(experiment, inputs["clean"])
    teacher = resolved_teacher(experiment, name, inputs, geometry)
    check_auxiliary(experiment, name, teacher)
    values = {
        **non_defaults(teacher, "recipe", "minutes"),
        "seed": seed_of(experiment, name),
        "view_version": VIEW_VERSION,
    }
    values |= geometry_settings(geometry)
    values["weights"] = [source_digest(source) for source in teacher.weights]
    if teacher.fits_head or teacher.keep == "best" or teacher.patience:
        values["metric"] = experiment.study.metric  # chooses how strongly the head is regularised, and the best epoch
    return values | head_settings(teacher)


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `model.safetensors` and `model.json`, or one pair in each `fold<k>/` with `folds.json` beside them."""
    geometry = input_geometry(experiment, inputs["clean"])
    teacher, seed = resolved_teacher(experiment, name, inputs, geometry), seed_of(experiment, name)
    data = read_training_data(inputs, name)
    parts = training_parts(data.labels, teacher.folds, seed)
    for part, rows in parts.items():
        model_folder = folder / part if part else folder
        if not (model_folder / "model.json").is_file():  # else this fold was finished before an interruption
            log.info("%s %s: %d images", name, part or "", len(rows))
            described = settings(experiment, name, inputs), artifacts_read(experiment, name), part
            with experiment.track(name, *described) as tracked:
                replay(tracked, model_folder)
                views = ViewSet.of(data.cache, teacher.views, derived_seed(seed, part), rows, geometry)
                checkpoint = train_one(experiment, teacher, data, views, seed, model_folder, folder, tracked.metrics)
                save_checkpoint(model_folder, checkpoint)
                tracked.record(trained_record(name, folder, part, teacher.keep, experiment.study.metric))
        remove_resume(model_folder)
    remove_features(folder)
    if teacher.folds:
        write_json(folder / "folds.json", fold_of_content(data.cache.contents, data.labels, parts))


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    return model_artifacts(name, folder)


def resolved_teacher(experiment: Experiment, name: str, inputs: Inputs, geometry: InputGeometry) -> Teacher:
    teacher = resolve(experiment, experiment.study.teachers[name.partition("/")[2]], geometry)
    if teacher.minutes is None:
        return teacher
    manifest = read_manifest(inputs.folder("clean"))
    train, val = len(manifest.of_split("train")), len(manifest.of_split("val"))
    return resolve_epochs(experiment, teacher, train, val, inputs["clean"].fingerprint)


def check_auxiliary(experiment: Experiment, name: str, teacher: Teacher) -> None:
    """Raise UserError if the teacher is to learn auxiliary labels that do not exist, or has no body to train."""
    key = f"teachers.{name.partition('/')[2]}.auxiliary_weight"
    if teacher.auxiliary_weight and not experiment.study.data.auxiliary_columns:
        raise UserError(f"{key} is set, but data.auxiliary_columns names no column of the table; name one, or set 0")
    if teacher.auxiliary_weight and teacher.kind == "probe":
        raise UserError(f"{key} is set, but kind: probe trains the head alone; set 0, or kind: finetune")


def seed_of(experiment: Experiment, name: str) -> int:
    family, _, teacher = name.partition("/")
    return derived_seed(experiment.study.seed, "teacher" if family == "teachers" else family, teacher)


def training_parts(labels: Labels, k: int, seed: int) -> dict[str, np.ndarray]:
    """Cache rows to train on: one part named "" without folds, else `fold<i>` with fold i left out."""
    if k == 0:
        return {"": labels.labelled}
    fold = folds(labels.group[labels.labelled], labels.targets[labels.labelled], k, seed)
    return {f"fold{i}": labels.labelled[fold != i] for i in range(k)}


def fold_of_content(contents: list[str], labels: Labels, parts: dict[str, np.ndarray]) -> dict[str, int]:
    """Content hash -> the fold whose model was trained without that image."""
    left_out = {}
    for index, rows in enumerate(parts.values()):
        for row in np.setdiff1d(labels.labelled, rows):
            left_out[contents[row]] = index
    return left_out


def train_one(
    experiment: Experiment,
    teacher: Teacher,
    data: TrainingData,
    views: ViewSet,
    seed: int,
    folder: Path,
    features_folder: Path,
    track: Metrics,
) -> Checkpoint:
    """Train one network on the given labels of the images that `views` may mix. features_folder: as for `fit_head`."""
    checkpoint = started(experiment, teacher, data, views, seed, folder, features_folder, track)
    if teacher.kind == "probe":
        return checkpoint
    evaluate, classes = val_metrics(experiment, data, checkpoint.preprocessing), len(data.manifest.classes)
    trained = train(
        checkpoint.classifier,
        task_of(experiment, teacher, data, views),
        without_val(teacher, data.chosen),
        seed,
        folder,
        of_first_outputs(evaluate, classes) if teacher.auxiliary_weight else evaluate,
        experiment.device,
        track,
    )
    if teacher.auxiliary_weight:
        narrow(trained, classes)
    return Checkpoint(trained, checkpoint.classes, checkpoint.preprocessing, checkpoint.card)


def started(
    experiment: Experiment,
    teacher: Teacher,
    data: TrainingData,
    views: ViewSet,
    seed: int,
    folder: Path,
    features_folder: Path,
    track: Metrics,
) -> Checkpoint:
    """The network before training: weights loaded or random, stem and head fitted if the settings ask for that.

    With auxiliary labels, outputs for them follow those of the classes.
    """
    checkpoint = new_checkpoint(teacher, data.manifest.classes, seed, views.geometry.fit)
    fit_stem(checkpoint, views)
    if teacher.fits_head:
        fit_head(experiment, teacher, data, checkpoint, views.partners, folder, features_folder, track)
    if teacher.auxiliary_weight:
        columns = auxiliary_labels(data, experiment.study.data.auxiliary_columns)
        widen(checkpoint.classifier, sum(column.classes for column in columns))
    return checkpoint


def task_of(experiment: Experiment, teacher: Teacher, data: TrainingData, views: ViewSet) -> Task:
    """The given labels of the images that `views` may mix, and the auxiliary ones if the teacher learns them."""
    labels, rows, classes = data.labels, views.partners, len(data.manifest.classes)
    criterion = supervised_loss(views, labels.targets, labels.weight, classes, teacher, teacher.logit_adjustment)
    if teacher.auxiliary_weight:
        columns = auxiliary_labels(data, experiment.study.data.auxiliary_columns)
        smoothing, weight = teacher.label_smoothing, teacher.auxiliary_weight
        criterion = with_auxiliary(criterion, columns, views, labels.weight, classes, smoothing, weight)
    return Task(
        rows,
        views,
        criterion,
        probability=equal_class_probability(labels.targets[rows]) if teacher.balanced_sampling else None,
        augment=rand_augment(teacher.rand_augment),
        metric=f"val_{experiment.study.metric}",
        weight=row_weights(labels.targets, labels.weight, classes, teacher.balance),
    )


def learning_rate_range(experiment: Experiment, name: str, inputs: Inputs) -> list[dict[str, float]]:
    """The rows of a learning-rate range test of a teacher, trained as it will be; nothing is kept.

    Raises UserError for a probe, which has no learning rate.
    """
    if experiment.study.teachers[name.partition("/")[2]].kind == "probe":
        raise UserError(f"{name.partition('/')[2]} is a probe: its head is fitted without a learning rate")
    geometry = input_geometry(experiment, inputs["clean"])
    teacher, seed = resolved_teacher(experiment, name, inputs, geometry), seed_of(experiment, name)
    data = read_training_data(inputs, name)
    views = ViewSet.of(data.cache, teacher.views, derived_seed(seed, ""), data.labels.labelled, geometry)
    with (
        experiment.track(name, settings(experiment, name, inputs), part="rates") as tracked,
        TemporaryDirectory() as folder,  # features of other settings must not be found
    ):
        checkpoint = started(experiment, teacher, data, views, seed, Path(folder), Path(folder), tracked.metrics)
        task = task_of(experiment, teacher, data, views)
        return rate_range(checkpoint.classifier, task, teacher, seed, experiment.device)
