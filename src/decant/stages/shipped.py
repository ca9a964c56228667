"""Stage shipped: the student or its twin, whichever is better on val. All stages after it work with this model."""

import json
import shutil
from pathlib import Path
from typing import Any

from decant.data.manifest import read_manifest
from decant.data.predictions import read_predictions
from decant.evaluation.intervals import comparison_row
from decant.evaluation.scores import scores
from decant.evaluation.tables import rounded
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import Inputs
from decant.workspace import write_json

VERSION = 1
STUDENT, ALONE = "student", "student_alone"
FILES = ("model.safetensors", "model.json", "history.csv")
CHOICE = "choice.json"


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {"metric": experiment.study.metric, "ship": experiment.study.export.ship}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Copy the files of the chosen model, and write `choice.json`: the model, the reason and the difference on val.

    The better one by the study's metric on val is taken, the student if both are equal.
    """
    study = experiment.study
    manifest = read_manifest(inputs.folder("clean") / "manifest.parquet")
    val = manifest.of_split("val")
    targets, groups, ids = manifest.targets(val), val["group"].to_numpy(), list(val["id"])
    folders = {model: inputs.folder(f"predictions/{model}") for model in (STUDENT, ALONE)}
    predictions = {
        model: read_predictions(folder, "val").aligned(ids).members["identity"] for model, folder in folders.items()
    }
    score = {model: scores(values, targets)[study.metric] for model, values in predictions.items()}
    better = ALONE if score[ALONE] > score[STUDENT] else STUDENT
    compared = comparison_row(
        STUDENT,
        ALONE,
        "val",
        targets,
        predictions[STUDENT].argmax(axis=1),
        predictions[ALONE].argmax(axis=1),
        groups=groups,
    )
    choice = {
        "shipped": better if study.export.ship == "better" else STUDENT,
        "ship": study.export.ship,
        "metric": study.metric,
        **{model: rounded(study.metric, value) for model, value in score.items()},
        "n": len(val),
        **{key: rounded(key, float(str(value))) for key, value in compared.items() if key.startswith("accuracy")},
    }
    write_json(folder / CHOICE, choice)
    for file in FILES:
        shutil.copyfile(inputs.folder(str(choice["shipped"])) / file, folder / file)


def read_choice(folder: Path) -> dict[str, Any]:
    """The content of `choice.json`."""
    content: dict[str, Any] = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    return content
