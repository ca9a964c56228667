"""Stage teachers/NAME: train one teacher, whole or out of fold: fine-tune a network or fit a linear probe."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from decant.data.geometry import InputGeometry
from decant.data.splits import folds
from decant.data.views import VERSION as VIEW_VERSION
from decant.data.views import ViewSet
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.seeds import derived_seed
from decant.stages.support.auto_settings import resolve, source_digest
from decant.stages.support.experiment import Experiment
from decant.stages.support.features import remove_features
from decant.stages.support.input_geometry import geometry_settings, input_geometry
from decant.stages.support.network import fit_head, head_settings, new_checkpoint, val_metrics
from decant.stages.support.resolve import Inputs
from decant.stages.support.training_data import Labels, TrainingData, read_training_data
from decant.study import Teacher, non_defaults
from decant.tracking import Log
from decant.training.loop import Task, train
from decant.training.supervised import supervised_loss
from decant.workspace import write_json

log = logging.getLogger(__name__)
VERSION = 1
RESUMABLE = True


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    geometry = input_geometry(experiment, inputs["clean"])
    teacher = resolved_teacher(experiment, name, geometry)
    values = {**non_defaults(teacher, "recipe"), "seed": seed_of(experiment, name), "view_version": VIEW_VERSION}
    values |= geometry_settings(geometry)
    values["weights"] = [source_digest(source) for source in teacher.weights]
    if teacher.fits_head:
        values["metric"] = experiment.study.metric  # chooses how strongly the head is regularised
    return values | head_settings(teacher)


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `model.safetensors` and `model.json`, or one pair in each `fold<k>/` with `folds.json` beside them."""
    geometry = input_geometry(experiment, inputs["clean"])
    teacher, seed = resolved_teacher(experiment, name, geometry), seed_of(experiment, name)
    data = read_training_data(inputs)
    parts = training_parts(data.labels, teacher.folds, seed)
    for part, rows in parts.items():
        model_folder = folder / part if part else folder
        if (model_folder / "model.json").is_file():
            continue  # this fold was finished before an interruption
        log.info("%s %s: %d images", name, part or "", len(rows))
        with experiment.track(f"{name}{part}", settings(experiment, name, inputs)) as track:
            views = ViewSet.of(data.cache, teacher.views, derived_seed(seed, part), rows, geometry)
            checkpoint = train_one(experiment, teacher, data, views, seed, model_folder, folder, track)
        save_checkpoint(model_folder, checkpoint)
    remove_features(folder)
    if teacher.folds:
        write_json(folder / "folds.json", fold_of_content(data.cache.contents, data.labels, parts))


def resolved_teacher(experiment: Experiment, name: str, geometry: InputGeometry) -> Teacher:
    return resolve(experiment, experiment.study.teachers[name.partition("/")[2]], geometry)


def seed_of(experiment: Experiment, name: str) -> int:
    return derived_seed(experiment.study.seed, "teacher", name.partition("/")[2])


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
    track: Log,
) -> Checkpoint:
    """Train one network on the given labels of the images that `views` may mix. features_folder: as for `fit_head`."""
    checkpoint = new_checkpoint(teacher, data.manifest.classes, seed, views.geometry.fit)
    if teacher.fits_head:
        fit_head(experiment, teacher, data, checkpoint, views.partners, folder, features_folder, track)
    if teacher.kind == "probe":
        return checkpoint
    labels, classes = data.labels, len(data.manifest.classes)
    criterion = supervised_loss(views, labels.targets, labels.weight, classes, teacher.label_smoothing, teacher.balance)
    trained = train(
        checkpoint.classifier,
        Task(views.partners, views, criterion),
        teacher,
        seed,
        folder,
        val_metrics(experiment, data.manifest, checkpoint.preprocessing),
        teacher.dtype,
        experiment.device,
        track,
    )
    return Checkpoint(trained, checkpoint.classes, checkpoint.preprocessing, checkpoint.card)
