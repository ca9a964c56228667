"""Stage ensemble: temperatures and a weight for each teacher, fitted on val, and the pooled predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from decant.data.manifest import Manifest, read_manifest
from decant.data.predictions import SPLITS, Predictions, read_predictions, write_predictions
from decant.ensemble.calibration import apply_temperature, fit_temperature
from decant.ensemble.pooling import fit_weights, pool
from decant.evaluation.scores import scores
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import Inputs
from decant.stages.support.weights import Weights
from decant.workspace import write_json

VERSION = 2  # 2: soft labels have a temperature of their own


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {"pooling": experiment.study.ensemble.pooling}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `weights.json` and the ensemble's predictions of every split that all teachers predicted."""
    predicted = {teacher: result.folder for teacher, result in inputs.per_teacher("predictions").items()}
    manifest = read_manifest(inputs.folder("clean") / "manifest.parquet")
    weights, description = fit(manifest, predicted, experiment.study.ensemble.pooling)
    for split in SPLITS:
        if all((predictions / split / "ids.json").is_file() for predictions in predicted.values()):
            write_predictions(folder, split, pooled_predictions(predicted, weights, split))
    write_json(folder / "weights.json", description)


def fit(manifest: Manifest, predicted: Mapping[str, Path], pooling: str) -> tuple[Weights, dict[str, object]]:
    """Fit the temperatures per teacher, then the weights, all by likelihood.

    predicted: teacher -> folder of its predictions. Also returns the content of `weights.json`.
    """
    val = manifest.of_split("val")
    targets = manifest.targets(val)
    log_probabilities = {
        name: read_predictions(folder, "val").aligned(list(val["id"])).mean() for name, folder in predicted.items()
    }
    temperatures = {name: float(fit_temperature(values, targets)) for name, values in log_probabilities.items()}
    of_views = {name: view_temperature(manifest, folder) for name, folder in predicted.items()}
    calibrated = [apply_temperature(values, temperatures[name]) for name, values in log_probabilities.items()]
    weights = [float(weight) for weight in fit_weights(calibrated, targets, pooling)]
    fitted = Weights(list(predicted), weights, list(temperatures.values()), list(of_views.values()))
    pooled = pool(list(log_probabilities.values()), fitted.weights, fitted.temperatures)
    rows = {
        name: {
            "weight": round(weight, 5),
            "temperature": round(temperatures[name], 5),
            "view_temperature": round(of_views[name], 5),
            "val": rounded(scores(values, targets)),
        }
        for name, weight, values in zip(predicted, weights, calibrated, strict=True)
    }
    return fitted, {"pooling": pooling, "teachers": rows, "val": rounded(scores(pooled, targets))}


def view_temperature(manifest: Manifest, predictions: Path) -> float:
    """The temperature of a teacher's soft labels, fitted to predictions of the same kind: one model, no TTA.

    With folds these are the out-of-fold predictions for train, else those for val.
    """
    split = "train" if (predictions / "train" / "ids.json").is_file() else "val"
    single = read_predictions(predictions, split)
    rows = manifest.rows.set_index("id").loc[single.ids]
    targets = np.where(rows["weight"] > 0, manifest.targets(rows), -1)  # -1 is left out of the fit
    return float(fit_temperature(single.members["identity"], targets))


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}


def pooled_predictions(predicted: Mapping[str, Path], weights: Weights, split: str) -> Predictions:
    """The ensemble's predictions of one split."""
    per_teacher = [read_predictions(folder, split) for folder in predicted.values()]
    ids = per_teacher[0].ids
    log_probabilities = [predictions.aligned(ids).mean() for predictions in per_teacher]
    pooled = pool(log_probabilities, weights.weights, weights.temperatures)
    return Predictions(ids, {"identity": np.asarray(pooled)})
