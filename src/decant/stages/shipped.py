"""Stage shipped: the student or its twin, whichever is better on val. All stages after it work with this model."""

import json
import shutil
from pathlib import Path
from typing import Any

from decant.data.manifest import dependent_groups, read_manifest
from decant.data.predictions import read_predictions
from decant.evaluation.intervals import comparison_row
from decant.evaluation.scores import scores
from decant.evaluation.tables import rounded
from decant.stages import STUDENTS
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import Inputs
from decant.workspace import write_json

VERSION = 1
STUDENT, ALONE = STUDENTS
FILES = ("model.safetensors", "model.json", "history.csv", "regularisation.csv")  # the last of a fitted head alone
CHOICE = "choice.json"


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    ship = experiment.study.export.ship
    return {"ship": ship, **({"metric": experiment.study.metric} if ship == "better" else {})}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Copy the files of the chosen model, and write `choice.json`: the model, the reason and the difference on val.

    The model with the better metric on val is chosen, the student if both are equal. If the study ships the student in
    any case, the twin is not read.
    """
    study = experiment.study
    choice: dict[str, Any] = {"shipped": STUDENT, "ship": study.export.ship}
    if study.export.ship == "better":
        choice |= compared(inputs, study.metric)
        choice["shipped"] = ALONE if choice[ALONE] > choice[STUDENT] else STUDENT
    write_json(folder / CHOICE, choice)
    for source in (inputs.folder(choice["shipped"]) / file for file in FILES):
        if source.is_file():
            shutil.copyfile(source, folder / source.name)


def compared(inputs: Inputs, metric: str) -> dict[str, Any]:
    """The metric of student and twin on val, and the paired difference of their accuracies."""
    manifest = read_manifest(inputs.folder("clean"))
    val = manifest.of_split("val")
    targets, groups, ids = manifest.targets(val), dependent_groups(val), list(val["id"])
    student, alone = (
        read_predictions(inputs.folder(f"predictions/{model}"), "val").aligned(ids).members["identity"]
        for model in (STUDENT, ALONE)
    )
    row = comparison_row(STUDENT, ALONE, "val", targets, student.argmax(axis=1), alone.argmax(axis=1), groups=groups)
    return {
        "metric": metric,
        STUDENT: rounded(metric, scores(student, targets)[metric]),
        ALONE: rounded(metric, scores(alone, targets)[metric]),
        "n": len(val),
        **{key: rounded(key, float(str(value))) for key, value in row.items() if key.startswith("accuracy")},
    }


def read_choice(folder: Path) -> dict[str, Any]:
    """The content of `choice.json`."""
    content: dict[str, Any] = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    return content
