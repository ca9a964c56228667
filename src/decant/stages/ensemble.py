"""Stage ensemble: a temperature and a weight for each teacher, fitted on val, and the pooled predictions."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decant.data.manifest import Manifest
from decant.data.predictions import Predictions, read_predictions, write_predictions
from decant.ensemble.calibration import apply_temperature, fit_temperature
from decant.ensemble.pooling import fit_weights, pool
from decant.evaluation.scores import scores
from decant.stages.predictions import SPLITS, predictions
from decant.stages.support.experiment import Experiment
from decant.stages.support.training_data import read_cleaned
from decant.stages.teacher import teacher
from decant.workspace import StageResult, write_json

VERSION = 1


@dataclass(frozen=True)
class Weights:
    """How to pool: per teacher, in the study's order."""

    names: list[str]
    weights: list[float]
    temperatures: list[float]


def ensemble(experiment: Experiment) -> StageResult:
    """`weights.json` and the ensemble's predictions of every split that all teachers predict."""
    names = list(experiment.study.teachers)
    parts = {name: predictions(experiment, name, teacher(experiment, name)) for name in names}
    pooling = experiment.study.ensemble.pooling

    def build(folder: Path) -> None:
        manifest = read_cleaned(experiment)
        fitted, description = fit(manifest, parts, pooling)
        for split in SPLITS:
            if all((part.folder / split / "ids.json").is_file() for part in parts.values()):
                write_predictions(folder, split, pooled_predictions(parts, fitted, split))
        write_json(folder / "weights.json", description)

    section = {"pooling": pooling, "teachers": names}
    return experiment.workspace.stage("ensemble", section, list(parts.values()), VERSION, build)


def fit(manifest: Manifest, parts: dict[str, StageResult], pooling: str) -> tuple[Weights, dict[str, object]]:
    """Temperatures one by one, then weights, both by likelihood on val; and what people want to see of it."""
    val = manifest.of_split("val")
    targets = manifest.targets(val)
    answers = {
        name: read_predictions(part.folder, "val").aligned(list(val["id"])).mean() for name, part in parts.items()
    }
    temperatures = {name: float(fit_temperature(answer, targets)) for name, answer in answers.items()}
    calibrated = [apply_temperature(answer, temperatures[name]) for name, answer in answers.items()]
    weights = [float(weight) for weight in fit_weights(calibrated, targets, pooling)]
    fitted = Weights(list(parts), weights, list(temperatures.values()))
    whole = pool(list(answers.values()), fitted.weights, fitted.temperatures)
    rows = {
        name: {
            "weight": round(weight, 5),
            "temperature": round(temperatures[name], 5),
            "val": rounded(scores(cal, targets)),
        }
        for name, weight, cal in zip(parts, weights, calibrated, strict=True)
    }
    return fitted, {"pooling": pooling, "teachers": rows, "val": rounded(scores(whole, targets))}


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}


def pooled_predictions(parts: dict[str, StageResult], fitted: Weights, split: str) -> Predictions:
    found = [read_predictions(part.folder, split) for part in parts.values()]
    ids = found[0].ids
    answers = [part.aligned(ids).mean() for part in found]
    return Predictions(ids, {"identity": np.asarray(pool(answers, fitted.weights, fitted.temperatures))})


def read_weights(finished: StageResult) -> Weights:
    """The weights as the file has them, so that reading and writing agree to the last digit."""
    teachers = json.loads((finished.folder / "weights.json").read_text())["teachers"]
    weights = np.array([row["weight"] for row in teachers.values()])
    return Weights(list(teachers), list(weights / weights.sum()), [row["temperature"] for row in teachers.values()])


def active_teachers(weights: Weights) -> list[str]:
    """The teachers with a weight above zero."""
    return [name for name, weight in zip(weights.names, weights.weights, strict=True) if weight > 0]
