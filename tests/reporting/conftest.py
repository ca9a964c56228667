"""The results of a study, made by the same functions as real results, from predictions of invented models."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from decant.evaluation.acceptance import accept_row, choose_thresholds
from decant.evaluation.intervals import comparison_row
from decant.evaluation.metrics import (
    class_count_rows,
    confusion,
    confusion_rows,
    near_duplicate_rows,
    per_class_rows,
    precision_row,
    reliability_rows,
    soft_label_row,
)
from decant.evaluation.tables import write_results_table
from decant.timing.models import LATENCY_COLUMNS, ensemble_rows

CLASSES = ["car", "van", "bus & $coach$", "truck|lorry", "грузовик", "tram", "bicycle"]
MODELS = {  # kind, and how far its logits separate the classes
    "lite0": ("teacher", 2.0),
    "lite2": ("teacher", 2.3),
    "ensemble": ("ensemble", 2.8),
    "student_alone": ("student_alone", 1.8),
    "student": ("student", 2.5),
    "student_onnx": ("student_onnx", 2.5),
}
P50_MS = {"lite0": 6.0, "lite2": 14.4, "student_alone": 3.1, "student_onnx": 3.2}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def predictions(split: str, sharpness: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng([len(split), 7])
    targets = draw.integers(0, len(CLASSES), n)
    noise = draw.normal(size=(n, len(CLASSES)))
    return log_softmax(noise + sharpness * np.eye(len(CLASSES))[targets], axis=1), targets


def write_precision(folder: Path) -> None:
    scores, per_class, reliability, near_duplicates = [], [], [], []
    for split, n in (("val", 90), ("test", 150)):
        ensemble, _ = predictions(split, MODELS["ensemble"][1], n)
        for model, (kind, sharpness) in MODELS.items():
            log_probabilities, targets = predictions(split, sharpness, n)
            scores.append(precision_row(model, kind, split, log_probabilities, targets, ensemble))
            per_class += per_class_rows(model, kind, split, log_probabilities, targets, CLASSES)
            reliability += reliability_rows(model, kind, split, log_probabilities, targets)
            repeated = np.arange(n) < (12 if split == "test" else 0)
            in_train = (9, 5) if split == "test" else (0, 0)
            near_duplicates += near_duplicate_rows(model, kind, split, log_probabilities, targets, repeated, in_train)
    student, targets = predictions("test", MODELS["student_onnx"][1], 150)
    comparisons = [
        comparison_row(
            "student_onnx", other, "test", targets, student.argmax(1), predictions("test", sharpness, 150)[0].argmax(1)
        )
        for other, (_, sharpness) in MODELS.items()
        if other not in ("student_onnx", "student")
    ]
    tables = folder / "benchmarks" / "precision"
    write_results_table(scores, tables / "metrics.csv")
    write_results_table(per_class, tables / "per_class.csv")
    write_results_table(reliability, tables / "reliability.csv")
    write_results_table(near_duplicates, tables / "near_duplicates.csv")
    write_results_table(comparisons, tables / "comparisons.csv")
    val, val_targets = predictions("val", MODELS["student_onnx"][1], 90)
    acceptance = choose_thresholds(val, val.max(axis=1), val_targets, 0.7)
    accepted = accept_row("student_onnx", "student_onnx", "test", student, student.max(axis=1), targets, acceptance)
    write_results_table([accepted], tables / "accept.csv")
    soft_labels = [(np.array([[0.6, 0.4], [0.8, 0.2], [0.7, 0.3]]), np.array([0, 0, 1]))]
    write_results_table([soft_label_row("ensemble", "ensemble", soft_labels)], tables / "soft_labels.csv")
    write_results_table(confusion_rows(confusion(student, targets), CLASSES), tables / "confusion_student_onnx.csv")


def write_latency(folder: Path) -> None:
    rows = []
    for model, p50_ms in P50_MS.items():
        for batch_size in (1, 8):
            row: dict[str, object] = dict.fromkeys(LATENCY_COLUMNS, 12.345)
            row |= {"model": model, "kind": MODELS[model][0], "engine": "onnxruntime", "precision": "fp32"}
            row |= {"graph": "full", "input_px": 128, "batch_size": batch_size, "threads": 2}
            rows.append(row | {"p50_ms": p50_ms * batch_size, "file_mb": 13.6, "gmacs": 0.134567})
    rows += ensemble_rows(rows, ["lite0", "lite2"])
    write_results_table(rows, folder / "benchmarks" / "latency" / "metrics.csv")


@pytest.fixture
def study(study_template: Path, tmp_path: Path) -> Path:
    """A copy of `results/demo` with every file that a report reads. Tests may change it."""
    return Path(shutil.copytree(study_template, tmp_path / "results" / "demo"))


@pytest.fixture(scope="session")
def study_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_precision(folder)
    write_latency(folder)
    splits = ["train"] * 700 + ["val"] * 90 + ["test"] * 150 + ["predict"] * 20
    labels = [CLASSES[min(i % 9, 6)] for i in range(940)] + [None] * 20
    write_results_table(class_count_rows(splits, labels), folder / "data" / "classes.csv")
    write_json(
        folder / "study.json",
        {
            "name": "demo",
            "title": "Toy vehicles",
            "metric": "precision_macro",
            "data": {"source": "toy_vehicles"},
            "clean": {"policy": "conservative"},
            "teachers": {
                "lite0": {"architecture": "tf_efficientnet_lite0", "kind": "probe", "input_px": 128, "folds": 5},
                "lite2": {"architecture": "tf_efficientnet_lite2", "kind": "finetune", "input_px": 160, "folds": 0},
            },
            "ensemble": {"pooling": "convex", "tta": ["hflip", {"scale": [1.1]}]},
            "soft_labels": {"views": 8, "transductive": False},
            "student": {"architecture": "tf_efficientnet_lite0", "input_px": 128, "epochs": 12, "hard_weight": 0.1},
        },
    )
    write_json(
        folder / "clean" / "metrics.json",
        {"issues": {"near_duplicate": 31, "label": 58}, "actions": {"drop": 12, "none": 1234}, "images": 1300},
    )
    write_results_table(
        [
            {
                "id": "0123456789abcdef", "path": "car/1.jpg", "issue": "label", "score": 0.97, "given_label": "car",
                "suggested_label": "van", "action": "review", "reason": "out of fold",
            }
        ],
        folder / "clean" / "issues.csv",
    )  # fmt: skip
    history = [
        {"epoch": e, "loss": 2 / e, "val_accuracy": 1 - 0.5 / e, "val_nll": 1.5 / e, "images_per_second": 99}
        for e in range(1, 9)
    ]
    write_results_table(history, folder / "teachers" / "lite2.csv")
    write_results_table(history, folder / "student" / "student.csv")
    weights = {"lite0": {"weight": 0.31, "temperature": 1.2}, "lite2": {"weight": 0.69, "temperature": 0.9}}
    write_json(folder / "ensemble" / "weights.json", {"pooling": "convex", "teachers": weights})
    write_json(
        folder / "export" / "verification.json",
        {"n": 90, "top1_agreement": 1.0, "max_abs_logit_difference": 3.1e-5, "batch_sizes": [1, 7, 32], "passed": True},
    )
    write_json(
        folder / "provenance.json",
        {"commit": "abc1234", "command": "python distill/run.py", "machine": {"processor": "Zen 4", "cores": 2}},
    )
    write_json(
        folder / "benchmarks" / "latency" / "machine.json",
        {"processor": "Zen 4", "cores": 2, "picture_px": [300, 400]},
    )
    return folder
