"""Stage benchmarks/precision: all models of a study through one path, on val and on test."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from decant.data.manifest import Manifest
from decant.data.predictions import read_predictions
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
from decant.stages.ensemble import active_teachers, ensemble, read_weights
from decant.stages.export import export
from decant.stages.int8 import int8
from decant.stages.predictions import predictions
from decant.stages.soft_labels import Says, open_store, pooled_labels, soft_labels, stored_views
from decant.stages.student import student, student_alone
from decant.stages.support.experiment import Experiment
from decant.stages.support.training_data import read_cleaned, training_data
from decant.stages.teacher import teacher
from decant.workspace import StageResult

VERSION = 3  # 3: soft_labels.csv; 2: near_duplicates.csv
SHIPPED, INT8 = "student_onnx", "student_onnx_int8"
DRAWN = (SHIPPED, "ensemble")  # whose confusions are kept

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Model:
    """Where a model's answers are: stage `made`, folder `below` it. augmented: with test-time augmentation."""

    kind: str
    made: StageResult
    below: str = ""
    augmented: bool = False

    def answers(self, split: str, ids: list[str]) -> np.ndarray:
        """float32 [n, K] log-probabilities in the order of `ids`."""
        found = read_predictions(self.made.folder / self.below, split).aligned(ids)
        return found.mean() if self.augmented else found.members["identity"]


def precision(experiment: Experiment) -> StageResult:
    """The tables of `benchmarks/precision/`, as results/README.md has them, and the confusions.

    A network's row is the network by itself. Test-time augmentation is in the ensemble's row and, to be seen apart, in
    the rows `<teacher>_tta`.
    """
    models = scored_models(experiment)
    stores = {name: soft_labels(experiment, name) for name in active_teachers(read_weights(models["ensemble"].made))}
    shown = experiment.study.data.class_names

    def build(folder: Path) -> None:
        manifest = read_cleaned(experiment)
        names = [shown.get(name, name) for name in manifest.classes]
        tables: dict[str, Rows] = {}
        for split in ("test", "val"):
            for table, rows in scored(models, manifest, split, names).items():
                tables.setdefault(table, []).extend(rows)
        tables["soft_labels"] = soft_label_rows(experiment, models["ensemble"].made, stores)
        for table, rows in tables.items():
            write_results_table(rows, folder / f"{table}.csv")

    section = {"models": list(models), "shown": shown}
    reads = list(dict.fromkeys([*(model.made for model in models.values()), *stores.values()]))
    return experiment.workspace.stage("benchmarks/precision", section, reads, VERSION, build)


def scored_models(experiment: Experiment) -> dict[str, Model]:
    """Every model by its name, in the order of the tables; one that is added here is scored like the others."""
    models: dict[str, Model] = {}
    for name in experiment.study.teachers:
        answered = predictions(experiment, name, teacher(experiment, name))
        models[name] = Model("teacher", answered)
        models[f"{name}_tta"] = Model("teacher", answered, augmented=True)
    models["ensemble"] = Model("ensemble", ensemble(experiment))
    for name, trained in (("student_alone", student_alone(experiment)), ("student", student(experiment))):
        models[name] = Model(name, predictions(experiment, name, trained))
    models[SHIPPED] = Model(SHIPPED, export(experiment), "predictions")
    if experiment.study.export.int8:
        models[INT8] = Model(INT8, int8(experiment), "predictions")
    return models


def scored(models: dict[str, Model], manifest: Manifest, split: str, classes: list[str]) -> dict[str, Rows]:
    """The rows of each table for one split, by the table's name; confusions of test alone."""
    rows = manifest.of_split(split)
    targets = manifest.targets(rows)
    answers = {name: model.answers(split, list(rows["id"])) for name, model in models.items()}
    repeated, in_train = repeated_in_train(manifest, rows)
    tables: dict[str, Rows] = {
        name: [] for name in ("metrics", "per_class", "comparisons", "reliability", "near_duplicates")
    }
    for name, model in models.items():
        whose, found = (name, model.kind, split), answers[name]
        tables["metrics"].append(precision_row(*whose, found, targets, answers["ensemble"]))
        tables["per_class"] += per_class_rows(*whose, found, targets, classes)
        tables["reliability"] += reliability_rows(*whose, found, targets)
        tables["near_duplicates"] += near_duplicate_rows(*whose, found, targets, repeated, in_train)
        if name != SHIPPED:
            pair = answers[SHIPPED].argmax(axis=1), found.argmax(axis=1)
            tables["comparisons"].append(comparison_row(SHIPPED, name, split, targets, *pair))
    for name in DRAWN if split == "test" else ():
        tables[f"confusion_{name}"] = confusion_rows(confusion(answers[name], targets), classes)
    return tables


def soft_label_rows(experiment: Experiment, combined: StageResult, stores: dict[str, StageResult]) -> Rows:
    """How right what the student was taught is: of train, the views that mix no two pictures, by their given labels."""
    data, study = training_data(experiment), experiment.study
    views, labels = stored_views(study, data.cache, data.labels), data.labels
    opened = {name: open_store(store) for name, store in stores.items()}
    unmixed = [
        (view, labels.labelled[views.draw(labels.labelled, view).partner < 0])
        for view in range(study.soft_labels.views)
    ]

    def row(model: str, kind: str, says: Says) -> dict[str, object]:
        return soft_label_row(model, kind, ((says(view, rows), labels.targets[rows]) for view, rows in unmixed))

    return [
        *(row(name, "teacher", store.read) for name, store in opened.items()),
        row("ensemble", "ensemble", pooled_labels(opened, read_weights(combined))),
    ]


def repeated_in_train(manifest: Manifest, rows: pd.DataFrame) -> tuple[np.ndarray, tuple[int, int]]:
    """Which of `rows` stand in one group with rows of train, bool [n], and how many of train were set aside and kept.

    Those set aside count: the split that was given leaked, whatever cleaning did about it.
    """
    train = manifest.rows[manifest.rows["split"] == "train"]
    copies = train[train["group"].isin(rows["group"])]
    kept = int((copies["action"] != "drop").sum())
    return rows["group"].isin(copies["group"]).to_numpy(), (len(copies) - kept, kept)
