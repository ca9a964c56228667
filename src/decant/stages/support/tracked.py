"""What stages give W&B of their files: rows with numbers, artifacts, a training's scores, and mistakes."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors import SafetensorError

from decant.data.images import decode
from decant.data.manifest import Manifest
from decant.evaluation.mistakes import mistakes
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.experiment import Experiment
from decant.tracking import Artifact, Images, Log, Record, Row
from decant.training.averaging import best_epoch
from decant.training.resume import FILE, history_of

MISTAKES = 24  # worst ones in the table
SIDE_PX = 192  # longest side of a thumbnail
MODEL_FILES = ("model.json", "history.csv", "regularisation.csv")  # without the weights, which are large


def artifact(name: str, kind: str, folder: Path, files: Iterable[str]) -> Artifact:
    """The files of the stage in `folder` that exist. name: of the stage or of a part of it."""
    existing = {file: folder / file for file in files if (folder / file).is_file()}
    return Artifact(name.replace("/", "-"), kind, folder.name, existing)


def model_artifacts(name: str, folder: Path) -> list[Artifact]:
    """One artifact per model of a trained stage."""
    return [model_artifact(name, folder, "" if model == folder else model.name) for model in model_folders(folder)]


def model_artifact(name: str, folder: Path, fold: str = "") -> Artifact:
    """The description and the history of one model. fold: its folder below `folder`, if it has one."""
    files = [str(Path(fold, file)) for file in MODEL_FILES]
    return artifact(f"{name}/{fold}" if fold else name, "model", folder, files)


def trained_record(name: str, folder: Path, fold: str, keep: str, metric: str) -> Record:
    """The scores on val of a model that was trained in `folder`. keep, metric: how its epoch or head was chosen."""
    return Record(summary=scores_of(folder / fold, keep, metric), artifacts=[model_artifact(name, folder, fold)])


def scores_of(folder: Path, keep: str, metric: str) -> Row:
    """The row of `history.csv` with the scores of the stored weights; for a probe those of the best regularisation."""
    rows = read_rows(folder / "history.csv")
    if rows:
        chosen = rows[best_epoch(rows, f"val_{metric}") if keep == "best" and f"val_{metric}" in rows[0] else -1]
        return {**chosen, "epochs": len(rows)}
    strengths = read_rows(folder / "regularisation.csv")
    return max(strengths, key=lambda row: float(row[f"val_{metric}"]), default={})


def replay(log: Log, folder: Path) -> None:
    """Give W&B the epochs of an interrupted training that goes on in `folder`, so that its curves are whole."""
    try:
        for row in json.loads(history_of(folder / FILE)):
            log.metrics(row)
    except (OSError, SafetensorError):  # no interrupted training, or a damaged file: training starts anew
        return


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file with numbers as numbers and empty cells as None; none if the file is missing."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: value_of(text) for name, text in row.items()} for row in csv.DictReader(file)]


def value_of(text: str) -> str | float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with `/` between the keys."""
    entries: dict[str, Any] = {}
    for name, value in values.items():
        entries |= flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return entries


def mistake_table(
    experiment: Experiment, manifest: Manifest, predictions: Mapping[str, np.ndarray]
) -> tuple[list[Row], Images]:
    """The worst mistakes of the first model on test, by the image's id, and a function that returns their images.

    predictions: model -> log-probabilities float32 [n, K] of the rows of test.
    """
    rows = manifest.of_split("test")
    worst = mistakes(next(iter(predictions.values())), manifest.targets(rows))[:MISTAKES]
    mistaken = rows.iloc[[mistake.row for mistake in worst]]
    table: list[Row] = [
        {"id": row["id"], "label": row["label"], **predicted_cells(manifest.classes, predictions, mistake.row)}
        for mistake, (_, row) in zip(worst, mistaken.iterrows(), strict=True)
    ]
    return table, lambda: thumbnails(experiment, mistaken)


def predicted_cells(classes: Sequence[str], predictions: Mapping[str, np.ndarray], row: int) -> Row:
    """Each model's predicted class of one row, and its probability."""
    cells: dict[str, object] = {}
    for model, log_probabilities in predictions.items():
        best = int(log_probabilities[row].argmax())
        cells |= {model: classes[best], f"{model} probability": float(np.exp(log_probabilities[row, best]))}
    return cells


def thumbnails(experiment: Experiment, rows: pd.DataFrame) -> list[np.ndarray]:
    """The images of manifest rows, small, uint8 [H, W, 3] each."""
    by_id = {id_: thumbnail(decode(data)) for id_, data in experiment.encoded_images(rows)}
    return [by_id[id_] for id_ in rows["id"]]


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], scaled down to at most SIDE_PX pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE_PX, SIDE_PX))
    return np.asarray(image)
