"""Stage benchmarks/precision: all models of a study scored in the same way, on val and on test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from decant.data.manifest import Manifest, dependent_groups, read_manifest
from decant.data.predictions import read_predictions
from decant.evaluation.acceptance import accept_row
from decant.evaluation.intervals import comparison_row
from decant.evaluation.metrics import (
    confusion,
    confusion_rows,
    near_duplicate_rows,
    per_class_rows,
    precision_row,
    reliability_rows,
    soft_label_row,
)
from decant.evaluation.tables import write_results_table
from decant.stages import STUDENTS
from decant.stages.soft_labels import open_store, stored_views
from decant.stages.support.ensemble_labels import PooledLabels, replayed_labels
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.onnx_predictions import labelled_predictions, read_acceptance
from decant.stages.support.resolve import Inputs
from decant.stages.support.tracked import artifact, mistake_table, read_rows
from decant.stages.support.training_data import read_training_data
from decant.tracking import Artifact, Images, Record, Row

VERSION = 9  # 9: accepted predictions count groups; 8: the primary comparison; 7: intervals of groups
SHIPPED, INT8 = "student_onnx", "student_onnx_int8"
DRAWN = (SHIPPED, "ensemble")  # the models whose confusions are kept
COMPARED = ("metrics", "comparisons", "soft_labels", "accept")  # tables of all models
PRIMARY = STUDENTS  # the comparison that the project is about

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Model:
    """A model to score. predictions: their folder. augmented: score with test-time augmentation."""

    kind: str
    predictions: Path
    augmented: bool = False

    def log_probabilities(self, split: str, ids: list[str]) -> np.ndarray:
        """float32 [n, K], in the order of `ids`."""
        predictions = read_predictions(self.predictions, split).aligned(ids)
        return predictions.mean() if self.augmented else predictions.members["identity"]


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write the tables of `benchmarks/precision/`, which results/README.md describes, and the confusions.

    A network's row is the network alone. The ensemble's row and the rows `<teacher>_tta` include test-time
    augmentation.
    """
    manifest = read_manifest(inputs.folder("clean"))
    models = scored_models(list(experiment.study.teachers), inputs)
    tables: dict[str, Rows] = {}
    for split in ("test", "val"):
        for table, rows in tables_of_split(models, manifest, split, manifest.classes).items():
            tables.setdefault(table, []).extend(rows)
    if soft_labels := soft_label_rows(experiment, inputs):
        tables["soft_labels"] = soft_labels
    for table, rows in tables.items():
        write_results_table(rows, folder / f"{table}.csv")


def records(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> Iterator[Record]:
    """One record of the comparisons, and one per model: its rows, its per-class table, its confusions on test.

    The record of the exported file also has its worst mistakes on test.
    """
    manifest = read_manifest(inputs.folder("clean"))
    models, per_class = scored_models(list(experiment.study.teachers), inputs), read_rows(folder / "per_class.csv")
    tables = {table: read_rows(folder / f"{table}.csv") for table in COMPARED}
    own = artifacts(name, folder, experiment.study.data.may_be_shared)
    yield Record(tables={table: rows for table, rows in tables.items() if rows}, artifacts=own)
    for model, rows in rows_of_models(tables["metrics"]).items():
        mistakes, images = mistakes_of(experiment, manifest, models) if model == SHIPPED else ([], list)
        confusions = read_rows(folder / f"confusion_{model}.csv")
        classes = [row for row in per_class if row["model"] == model]
        yield Record(
            part=model,
            summary=summary_of(rows),
            tables={"per_class": classes, **({"mistakes": mistakes} if mistakes else {})},
            confusions={"confusion": confusions} if confusions else {},
            images={"mistakes": images} if mistakes else {},
        )


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    return [artifact(name, "tables", folder, [path.name for path in sorted(folder.glob("*.csv"))])]


def rows_of_models(metrics: Rows) -> dict[str, Rows]:
    """Model -> its rows."""
    models: dict[str, Rows] = {}
    for row in metrics:
        models.setdefault(str(row["model"]), []).append(row)
    return models


def summary_of(rows: Rows) -> dict[str, object]:
    """The rows of one model as one: `kind`, and `test/accuracy`, `val/accuracy` and so on."""
    scores = {
        f"{row['split']}/{column}": value
        for row in rows
        for column, value in row.items()
        if column not in ("model", "kind", "split")
    }
    return {"kind": rows[0]["kind"], **scores}


def mistakes_of(experiment: Experiment, manifest: Manifest, models: Mapping[str, Model]) -> tuple[list[Row], Images]:
    """The worst mistakes of the exported file on test, with the ensemble's predictions; none without test images."""
    ids = list(manifest.of_split("test")["id"])
    if not ids:
        return [], list
    return mistake_table(experiment, manifest, {name: models[name].log_probabilities("test", ids) for name in DRAWN})


def scored_models(teachers: list[str], inputs: Inputs) -> dict[str, Model]:
    """Every model by its name, in the order of the tables; all are scored alike."""
    models: dict[str, Model] = {}
    for name in teachers:
        predictions = inputs.folder(f"predictions/{name}")
        models[name] = Model("teacher", predictions)
        models[f"{name}_tta"] = Model("teacher", predictions, augmented=True)
    models["ensemble"] = Model("ensemble", inputs.folder("ensemble"))
    for name in reversed(STUDENTS):
        models[name] = Model(name, inputs.folder(f"predictions/{name}"))
    models[SHIPPED] = Model(SHIPPED, inputs.folder("export") / "predictions")
    if "int8" in inputs:
        models[INT8] = Model(INT8, inputs.folder("int8") / "predictions")
    return models


def tables_of_split(models: dict[str, Model], manifest: Manifest, split: str, classes: list[str]) -> dict[str, Rows]:
    """The rows of each table for one split, by the table's name; confusions for test alone."""
    rows = manifest.of_split(split)
    targets, groups = manifest.targets(rows), dependent_groups(rows)
    predictions = {name: model.log_probabilities(split, list(rows["id"])) for name, model in models.items()}
    repeated, in_train = repeated_in_train(manifest, rows)
    tables: dict[str, Rows] = {
        name: [] for name in ("metrics", "per_class", "comparisons", "reliability", "near_duplicates", "accept")
    }
    for name, model in models.items():
        key, log_probabilities = (name, model.kind, split), predictions[name]
        tables["metrics"].append(
            precision_row(*key, log_probabilities, targets, predictions["ensemble"], groups=groups)
        )
        tables["per_class"] += per_class_rows(*key, log_probabilities, targets, classes)
        tables["reliability"] += reliability_rows(*key, log_probabilities, targets)
        tables["near_duplicates"] += near_duplicate_rows(
            *key, log_probabilities, targets, repeated, in_train, groups=groups
        )
        if name in (SHIPPED, INT8):
            predicted = labelled_predictions(manifest, model.predictions, split)
            accepted = read_acceptance(model.predictions.parent)
            tables["accept"].append(accept_row(*key, *predicted, accepted, groups))
    for name, other in compared(models):
        predicted_classes = predictions[name].argmax(axis=1), predictions[other].argmax(axis=1)
        is_primary = (name, other) == PRIMARY
        tables["comparisons"].append(
            comparison_row(name, other, split, targets, *predicted_classes, groups=groups, primary=is_primary)
        )
    for name in DRAWN if split == "test" else ():
        tables[f"confusion_{name}"] = confusion_rows(confusion(predictions[name], targets), classes)
    return tables


def compared(models: dict[str, Model]) -> list[tuple[str, str]]:
    """The pairs of models in `comparisons.csv`.

    The student with its twin, the exported file with all other models, the ensemble with each teacher, and each two
    teachers without test-time augmentation.
    """
    teachers = [name for name, model in models.items() if model.kind == "teacher"]
    without_tta = [name for name in teachers if not models[name].augmented]
    return [
        PRIMARY,
        *((SHIPPED, name) for name in models if name != SHIPPED),
        *(("ensemble", name) for name in teachers),
        *combinations(without_tta, 2),
    ]


def soft_label_rows(experiment: Experiment, inputs: Inputs) -> Rows:
    """The scores of the stored soft labels against the given labels of train, for the views that mix no two images.

    No rows if no soft labels are stored.
    """
    if experiment.study.student.mode != "replay":
        return []
    data, study = read_training_data(inputs), experiment.study
    geometry = input_geometry(experiment, inputs["clean"])
    views, labels = stored_views(study, data.cache, data.labels, geometry), data.labels
    stores = {name: open_store(result.folder) for name, result in inputs.per_teacher("soft_labels").items()}
    unmixed = [
        (view, labels.labelled[views.draw(labels.labelled, view).partner < 0])
        for view in range(study.soft_labels.views)
    ]

    def row(model: str, kind: str, soft: PooledLabels) -> dict[str, object]:
        return soft_label_row(model, kind, ((soft(view, rows), labels.targets[rows]) for view, rows in unmixed))

    return [
        *(row(name, "teacher", store.read) for name, store in stores.items()),
        row("ensemble", "ensemble", replayed_labels(inputs)),
    ]


def repeated_in_train(manifest: Manifest, rows: pd.DataFrame) -> tuple[np.ndarray, tuple[int, int]]:
    """Which of `rows` share a group with rows of train, bool [n], and how many of train were set aside and kept.

    Rows that were set aside count too: the given split leaked, whatever cleaning did about it.
    """
    train = manifest.rows[manifest.rows["split"] == "train"]
    copies = train[train["group"].isin(rows["group"])]
    kept = int((copies["action"] != "drop").sum())
    return rows["group"].isin(copies["group"]).to_numpy(), (len(copies) - kept, kept)
