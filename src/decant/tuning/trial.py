"""One trial: a teacher with the settings of the trial, trained by the teacher stage's own code and scored on val."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from decant.data.manifest import read_manifest
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.seeds import derived_seed
from decant.stages import teacher as teacher_stage
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.network import val_metrics
from decant.stages.support.resolve import inputs_of, stage_result
from decant.stages.support.training_data import read_training_data
from decant.study import Teacher
from decant.workspace import fingerprint

AfterEpoch = Callable[[dict[str, Any], int], None]  # takes a row of history.csv, and how many epochs there will be


class Stopped(Exception):
    """Raised after an epoch to end the training of a trial."""


def train_trial(
    experiment: Experiment, name: str, teacher: Teacher, folder: Path, after_epoch: AfterEpoch, job: str
) -> dict[str, float] | None:
    """Train the teacher in place of the study's teacher `name` and return its metrics on val (`val_accuracy`, …).

    Returns None if `after_epoch` raised Stopped. The seed is that of the study's teacher, so a study with these
    settings trains the same network. A teacher with folds is trained once, on all of train. `folder` contains what an
    interrupted trial continues from.
    """
    experiment = with_teacher(experiment, name, teacher)
    stage = f"teachers/{name}"
    inputs = inputs_of(experiment, stage)
    geometry = input_geometry(experiment, inputs["clean"])
    resolved, seed = (
        teacher_stage.resolved_teacher(experiment, stage, inputs, geometry),
        teacher_stage.seed_of(experiment, stage),
    )
    data = read_training_data(inputs)
    ((part, rows),) = teacher_stage.training_parts(data.labels, 0, seed).items()
    views = ViewSet.of(data.cache, resolved.views, derived_seed(seed, part), rows, geometry)
    with experiment.track(f"tuning/{name}", teacher_stage.settings(experiment, stage, inputs), part=job) as tracked:

        def after_row(row: dict[str, Any]) -> None:
            tracked.metrics(row)
            if "epoch" in row:  # a probe's rows are of its regularisation
                after_epoch(row, resolved.epochs)

        try:
            checkpoint = teacher_stage.train_one(experiment, resolved, data, views, seed, folder, folder, after_row)
        except Stopped:
            return None
    return val_metrics(experiment, data, checkpoint.preprocessing)(checkpoint.classifier)


def with_teacher(experiment: Experiment, name: str, teacher: Teacher) -> Experiment:
    """The same experiment with another teacher under this name."""
    teachers = {**experiment.study.teachers, name: teacher}
    changed = replace(experiment, study=experiment.study.model_copy(update={"teachers": teachers}))
    changed.finished["manifest"] = stage_result(experiment, "manifest")  # reading the data's digest takes a while
    return changed


def recipe_mark(experiment: Experiment, name: str) -> str:
    """A fingerprint of what all trials share: the teacher stage's own for the recipe without folds, and the metric."""
    stage, teacher = f"teachers/{name}", experiment.study.teachers[name].model_copy(update={"folds": 0})
    experiment = with_teacher(experiment, name, teacher)
    inputs = inputs_of(experiment, stage)
    settings, reads = teacher_stage.settings(experiment, stage, inputs), list(inputs.results.values())
    located = experiment.workspace.located(stage, settings, reads, teacher_stage.VERSION)
    return fingerprint([located.fingerprint, experiment.study.metric])


def recipe_epochs(experiment: Experiment, name: str) -> int:
    """How many epochs the recipe trains on this machine: `minutes` may lower them."""
    stage = f"teachers/{name}"
    inputs = inputs_of(experiment, stage)
    return teacher_stage.resolved_teacher(experiment, stage, inputs, input_geometry(experiment, inputs["clean"])).epochs


def val_images(experiment: Experiment) -> int:
    """How many labelled images are in val. Raises UserError if there are none."""
    manifest = read_manifest(stage_result(experiment, "clean").folder)
    count = int(np.sum(manifest.targets(manifest.of_split("val")) >= 0))
    if count == 0:
        raise UserError(
            f"study {experiment.study.name} has no labelled image in val, by which trials are compared; give it a val "
            "split (data.val_fraction draws one where no split is given)"
        )
    return count
