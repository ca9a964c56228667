"""Stage benchmarks/precision: all models of a study through one path, on val and on test."""

from pathlib import Path

import numpy as np

from decant.data.predictions import read_predictions
from decant.reporting.format import write_results_table
from decant.reporting.intervals import COMPARISON_COLUMNS, comparison_row
from decant.reporting.metrics import (
    confusion,
    confusion_rows,
    per_class_rows,
    precision_row,
    reliability_rows,
)
from decant.stages.ensemble import ensemble
from decant.stages.experiment import Experiment
from decant.stages.export import export
from decant.stages.labels import read_cleaned
from decant.stages.predictions import predictions
from decant.stages.student import student, student_alone
from decant.stages.teacher import teacher
from decant.workspace import Finished

VERSION = 1
SHIPPED = "student_onnx"
TTA = "_tta"
DRAWN = (SHIPPED, "ensemble")  # whose confusions are kept


def precision(experiment: Experiment) -> Finished:
    """`metrics.csv`, `per_class.csv`, `comparisons.csv`, `reliability.csv` and confusion matrices.

    A network's row is the network by itself. Test-time augmentation is in the ensemble's row and, to be seen apart, in
    the rows `<teacher>_tta`.
    """
    combined, exported = ensemble(experiment), export(experiment)
    places: dict[str, tuple[Path, str]] = {}
    for name in experiment.study.teachers:
        place = predictions(experiment, name, teacher(experiment, name)).folder
        places |= {name: (place, "teacher"), name + TTA: (place, "teacher")}
    places["ensemble"] = (combined.folder, "ensemble")
    alone, distilled = student_alone(experiment), student(experiment)
    places["student_alone"] = (predictions(experiment, "student_alone", alone).folder, "student_alone")
    places["student"] = (predictions(experiment, "student", distilled).folder, "student")
    places[SHIPPED] = (exported.folder / "predictions", SHIPPED)

    shown = experiment.study.data.class_names

    def build(folder: Path) -> None:
        manifest = read_cleaned(experiment)
        names = [shown.get(name, name) for name in manifest.classes]
        tables: dict[str, list[dict[str, object]]] = {
            name: [] for name in ("metrics", "per_class", "comparisons", "reliability")
        }
        for split in ("test", "val"):
            rows = manifest.of_split(split)
            targets = manifest.targets(rows)
            ids = list(rows["id"])
            answers = {name: answers_of(place, split, ids, name.endswith(TTA)) for name, (place, _) in places.items()}
            for name, (_, kind) in places.items():
                tables["metrics"].append(precision_row(name, kind, split, answers[name], targets, answers["ensemble"]))
                tables["per_class"] += per_class_rows(name, kind, split, answers[name], targets, names)
                tables["reliability"] += reliability_rows(name, kind, split, answers[name], targets)
                if name != SHIPPED:
                    pair = answers[SHIPPED].argmax(axis=1), answers[name].argmax(axis=1)
                    tables["comparisons"].append(comparison_row(SHIPPED, name, split, targets, *pair))
            if split == "test":
                for name in DRAWN:
                    matrix = confusion_rows(confusion(answers[name], targets), names)
                    write_results_table(matrix, folder / f"confusion_{name}.csv")
        for name, table in tables.items():
            write_results_table(table, folder / f"{name}.csv", COMPARISON_COLUMNS if name == "comparisons" else None)

    reads = [combined, exported, alone, distilled]
    return experiment.workspace.stage(
        "benchmarks/precision", {"models": list(places), "shown": shown}, reads, VERSION, build
    )


def answers_of(place: Path, split: str, ids: list[str], augmented: bool) -> np.ndarray:
    """float32 [n, K] log-probabilities in the order of `ids`, with or without test-time augmentation."""
    found = read_predictions(place, split).aligned(ids)
    return found.mean() if augmented else found.members["identity"]
