"""The pictures of a study, each drawn from a file in `results/<study>/` and written beside it."""

from pathlib import Path

import numpy as np

from decant.reporting.evidence import (
    Evidence,
    Row,
    comparable,
    int8_is_offered,
    main_split,
    read_evidence,
    reported_latency,
    splits_in_order,
    student_row,
)
from decant.reporting.format import number, read_results_table
from decant.reporting.metrics import KINDS
from decant.reporting.pareto import pareto
from decant.reporting.plots import (
    class_balance,
    confusion_matrix,
    learning_curves,
    metrics_by_split,
    precision_bars,
    reliability,
)

CLASSES_PNG = "data/classes.png"
ACCURACY_PNG = "benchmarks/precision/accuracy.png"
RELIABILITY_PNG = "benchmarks/precision/reliability.png"
PARETO_PNG = "benchmarks/latency/pareto.png"
CALIBRATION_KINDS = ("ensemble", "student_alone", "student_onnx")


def render_figures(results_folder: Path) -> list[Path]:
    """Draws every picture whose numbers are there; returns the files written."""
    evidence = read_evidence(results_folder)
    written = [
        *_class_balance(evidence),
        *_learning_curves(evidence),
        *_confusions(evidence),
        *_reliability(evidence),
        *_accuracy(evidence),
        *_pareto(evidence),
    ]
    return written


def curves_png(teacher: str) -> str:
    return f"teachers/{teacher}.png"


def confusion_png(model: str) -> str:
    return f"benchmarks/precision/confusion_{model}.png"


def _class_balance(evidence: Evidence) -> list[Path]:
    labelled = [row for row in evidence.class_counts if row["class"]]
    if not labelled:
        return []
    counts = {
        split: {row["class"]: int(row["images"]) for row in labelled if row["split"] == split}
        for split in splits_in_order([row["split"] for row in labelled])
    }
    class_balance(counts, evidence.folder / CLASSES_PNG)
    return [evidence.folder / CLASSES_PNG]


def _learning_curves(evidence: Evidence) -> list[Path]:
    written = []
    for teacher, rows in evidence.histories.items():
        history = {column: [_number_or_nan(row[column]) for row in rows] for column in rows[0]}
        if not metrics_by_split(history):
            continue  # a probe fitted in one step
        learning_curves(history, evidence.folder / curves_png(teacher), teacher)
        written.append(evidence.folder / curves_png(teacher))
    return written


def _confusions(evidence: Evidence) -> list[Path]:
    written, split = [], main_split(evidence)
    for table in sorted((evidence.folder / "benchmarks" / "precision").glob("confusion_*.csv")):
        rows = read_results_table(table)
        classes = [row["target"] for row in rows]
        matrix = np.array([[int(row[name]) for name in classes] for row in rows], dtype=np.int64)
        model = table.stem.removeprefix("confusion_")
        confusion_matrix(matrix, classes, evidence.folder / confusion_png(model), f"{model} on {split}")
        written.append(evidence.folder / confusion_png(model))
    return written


def _reliability(evidence: Evidence) -> list[Path]:
    split = main_split(evidence)
    bins = {
        kind: [
            (number(row["confidence"]), number(row["accuracy"]), int(row["n"]))
            for row in evidence.reliability
            if row["kind"] == kind and row["split"] == split
        ]
        for kind in CALIBRATION_KINDS
    }
    bins = {kind: points for kind, points in bins.items() if points}
    if not bins:
        return []
    reliability(bins, evidence.folder / RELIABILITY_PNG)
    return [evidence.folder / RELIABILITY_PNG]


def _accuracy(evidence: Evidence) -> list[Path]:
    rows = [row for row in evidence.precision if row["split"] == main_split(evidence)]
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: KINDS.index(row["kind"]))
    precision_bars(
        [row["model"] for row in rows],
        [row["kind"] for row in rows],
        [number(row["accuracy"]) for row in rows],
        [(number(row["accuracy_low"]), number(row["accuracy_high"])) for row in rows],
        evidence.folder / ACCURACY_PNG,
        label=f"accuracy on {main_split(evidence)}",
    )
    return [evidence.folder / ACCURACY_PNG]


def _pareto(evidence: Evidence) -> list[Path]:
    found = pareto_rows(evidence)
    if len(found) < 2:
        return []
    _, first = found[0]
    pareto(
        [row["model"] for row, _ in found],
        [row["kind"] for row, _ in found],
        [number(row["accuracy"]) for row, _ in found],
        [number(timing["p50_ms"]) for _, timing in found],
        [number(timing["file_mb"] or "0") for _, timing in found],
        evidence.folder / PARETO_PNG,
        x_label=f"p50 latency, ms, at batch {first['batch_size']} on {first['threads']} threads",
        y_label=f"accuracy on {main_split(evidence)}",
    )
    return [evidence.folder / PARETO_PNG]


def pareto_rows(evidence: Evidence) -> list[tuple[Row, Row]]:
    """(precision row, latency row) of what somebody might serve, all timed as the shipped student is.

    The student alone is the same network and has the student's time. An int8 file that is not offered is left out, and
    so is what was timed without its preprocessing alone.
    """
    split = main_split(evidence)
    student = student_row(evidence, split)
    own = reported_latency(evidence, student["model"]) if student else None
    found = []
    for row in evidence.precision:
        timing = reported_latency(evidence, row["model"]) or (own if row["kind"] == "student_alone" else None)
        offered = row["kind"] != "student_onnx_int8" or int8_is_offered(evidence)
        if row["split"] == split and timing and own and offered and comparable(timing, own):
            found.append((row, timing))
    return found


def _number_or_nan(text: str) -> float:
    try:
        return number(text)
    except ValueError:
        return float("nan")  # a history may hold words, such as a phase
