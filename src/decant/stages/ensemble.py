"""Stage ensemble: temperatures and a weight for each teacher, fitted on val, and the pooled predictions."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from decant.data.manifest import Manifest, dependent_groups, read_manifest
from decant.data.predictions import SPLITS, Predictions, read_predictions, write_predictions
from decant.ensemble.calibration import apply_temperature, fit_temperature
from decant.ensemble.comparison import (
    CONTRIBUTION_COLUMNS,
    DIVERSITY_COLUMNS,
    POOLING_COLUMNS,
    Members,
    best_method,
    can_be_nested,
    contribution_rows,
    diversity_rows,
    pooling_rows,
)
from decant.ensemble.pooling import fit_pool, pool
from decant.evaluation.scores import scores
from decant.evaluation.tables import write_results_table
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import Inputs
from decant.stages.support.tracked import artifact, flat, read_rows
from decant.stages.support.weights import Weights
from decant.tracking import Artifact, Record
from decant.workspace import write_json

VERSION = 3  # 3: temperature of the pool, tables; 2: soft labels have a temperature of their own


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {"pooling": experiment.study.ensemble.pooling}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `weights.json`, the ensemble's predictions of every split that all teachers predicted, and the tables.

    `pooling.csv`, `contributions.csv` and `diversity.csv` are described in results/README.md. They are left out if val
    has too few groups of near duplicates to be divided.
    """
    folders = {teacher: result.folder for teacher, result in inputs.per_teacher("predictions").items()}
    manifest = read_manifest(inputs.folder("clean"))
    val = val_predictions(manifest, folders)
    pooling = chosen_method(experiment.study.ensemble.pooling, *val)
    weights, description = fit(manifest, folders, pooling)
    for split in SPLITS:
        if all((predictions / split / "ids.json").is_file() for predictions in folders.values()):
            write_predictions(folder, split, pooled_predictions(folders, weights, split))
    write_json(folder / "weights.json", description)
    if can_be_nested(*val[1:]):
        write_results_table(pooling_rows(*val, pooling), folder / "pooling.csv", POOLING_COLUMNS)
        if len(folders) > 1:
            contributions = contribution_rows(*val, pooling, weights.weights)
            write_results_table(contributions, folder / "contributions.csv", CONTRIBUTION_COLUMNS)
            write_results_table(diversity_rows(*val[:2]), folder / "diversity.csv", DIVERSITY_COLUMNS)


def records(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> Iterator[Record]:
    weights = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
    rows = [{"teacher": teacher, **flat(row)} for teacher, row in weights["teachers"].items()]
    tables = {path.stem: read_rows(path) for path in sorted(folder.glob("*.csv"))}
    summary = {f"val_{metric}": value for metric, value in weights["val"].items()}
    yield Record(
        summary={**summary, "pooling": weights["pooling"], "temperature": weights["temperature"]},
        tables={"weights": rows, **tables},
        artifacts=artifacts(name, folder, experiment.study.data.may_be_shared),
    )


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    return [artifact(name, "ensemble", folder, ["weights.json", *(path.name for path in sorted(folder.glob("*.csv")))])]


def chosen_method(pooling: str, members: Members, targets: np.ndarray, groups: np.ndarray) -> str:
    """The method of pooling; for `auto` the best on val by cross-validation, convex where val cannot be divided."""
    if pooling != "auto":
        return pooling
    return best_method(members, targets, groups) if can_be_nested(targets, groups) else "convex"


def val_predictions(manifest: Manifest, folders: Mapping[str, Path]) -> tuple[Members, np.ndarray, np.ndarray]:
    """Each teacher's log-probabilities of val, float32 [n, K], the means over TTA members; targets and groups, [n]."""
    val = manifest.of_split("val")
    members = {name: read_predictions(path, "val").aligned(list(val["id"])).mean() for name, path in folders.items()}
    return members, manifest.targets(val), dependent_groups(val)


def fit(manifest: Manifest, folders: Mapping[str, Path], pooling: str) -> tuple[Weights, dict[str, object]]:
    """The weights and temperatures that maximise the likelihood of val, and the content of `weights.json`.

    folders: teacher -> folder of its predictions.
    """
    members, targets, _ = val_predictions(manifest, folders)
    ids = list(manifest.of_split("val")["id"])
    fitted = fit_pool(list(members.values()), targets, pooling)
    view_temperatures = [view_temperature(manifest, folder) for folder in folders.values()]
    without_tta = [read_predictions(folder, "val").aligned(ids).members["identity"] for folder in folders.values()]
    pool_without_tta = pool(without_tta, fitted.weights, view_temperatures, log_linear=fitted.log_linear)
    of_pool = fitted.temperature, float(fit_temperature(pool_without_tta, targets)), fitted.log_linear
    weights = Weights(list(folders), fitted.weights, fitted.temperatures, view_temperatures, *of_pool)
    teachers = {
        name: {
            "weight": round(weight, 5),
            "temperature": round(temperature, 5),
            "view_temperature": round(of_view, 5),
            "val": rounded(scores(apply_temperature(log_probabilities, temperature), targets)),
        }
        for (name, log_probabilities), weight, temperature, of_view in zip(
            members.items(), fitted.weights, fitted.temperatures, view_temperatures, strict=True
        )
    }
    return weights, {
        "pooling": pooling,
        "temperature": round(weights.temperature, 5),
        "view_temperature": round(weights.view_temperature, 5),
        "teachers": teachers,
        "val": rounded(scores(fitted.of(list(members.values())), targets)),
    }


def view_temperature(manifest: Manifest, folder: Path) -> float:
    """The temperature of a teacher's soft labels, fitted to predictions of the same kind: one model, no TTA.

    These are the out-of-fold predictions for train if the teacher has folds, else the predictions for val. folder: of
    the teacher's predictions.
    """
    split = "train" if (folder / "train" / "ids.json").is_file() else "val"
    predictions = read_predictions(folder, split)
    rows = manifest.rows.set_index("id").loc[predictions.ids]
    targets = np.where(rows["weight"] > 0, manifest.targets(rows), -1)  # -1 is left out of the fit
    return float(fit_temperature(predictions.members["identity"], targets))


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}


def pooled_predictions(folders: Mapping[str, Path], weights: Weights, split: str) -> Predictions:
    """The ensemble's predictions of one split."""
    per_teacher = [read_predictions(folder, split) for folder in folders.values()]
    ids = per_teacher[0].ids
    log_probabilities = [predictions.aligned(ids).mean() for predictions in per_teacher]
    pooled = pool(
        log_probabilities,
        weights.weights,
        weights.temperatures,
        weights.temperature,
        log_linear=weights.log_linear,
    )
    return Predictions(ids, {"identity": np.asarray(pooled)})
