"""The figures of a study, each drawn from a file in `results/<study>/` and written beside it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from decant.evaluation.metrics import KINDS
from decant.evaluation.tables import number, read_results_table
from decant.reporting.pareto import pareto
from decant.reporting.plots import (
    accuracy_by_minutes,
    class_balance,
    confusion_matrix,
    learning_curves,
    metrics_by_split,
    precision_bars,
    reliability,
)
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    comparable,
    int8_is_offered,
    main_split,
    read_results_files,
    reported_latency,
    splits_in_order,
    student_row,
)
from decant.reporting.transfer import COURSES_PNG, courses, from_random_weights

STUDENTS = ("student", "student_alone")
CLASSES_PNG = "data/classes.png"
ACCURACY_PNG = "benchmarks/precision/accuracy.png"
RELIABILITY_PNG = "benchmarks/precision/reliability.png"
PARETO_PNG = "benchmarks/latency/pareto.png"
CALIBRATION_KINDS = ("ensemble", "student_alone", "student_onnx")


def render_figures(results_folder: Path, into: Path | None = None, suffix: str = ".png") -> list[Path]:
    """Draw every figure whose numbers exist and return the paths of the figures.

    into: the folder below which they are written, by default the results folder. suffix: .png, or .svg for vectors.
    """
    results = read_results_files(results_folder)

    def at(png: str) -> Path:
        return ((into or results_folder) / png).with_suffix(suffix)

    return [
        *_class_balance(results, at),
        *_learning_curves(results, at),
        *_courses(results, at),
        *_confusions(results, at),
        *_reliability(results, at),
        *_accuracy(results, at),
        *_pareto(results, at),
    ]


def curves_png(network: str) -> str:
    return f"{'student' if network in STUDENTS else 'teachers'}/{network}.png"


def confusion_png(model: str) -> str:
    return f"benchmarks/precision/confusion_{model}.png"


def _class_balance(results: ResultsFiles, at: Callable[[str], Path]) -> list[Path]:
    labelled = [row for row in results.class_counts if row["class"]]
    if not labelled:
        return []
    counts = {
        split: {row["class"]: int(row["images"]) for row in labelled if row["split"] == split}
        for split in splits_in_order([row["split"] for row in labelled])
    }
    class_balance(counts, at(CLASSES_PNG))
    return [at(CLASSES_PNG)]


def _learning_curves(results: ResultsFiles, at: Callable[[str], Path]) -> list[Path]:
    written = []
    for network, rows in {**results.histories, **results.student_histories}.items():
        history = {column: [_number_or_nan(row[column]) for row in rows] for column in rows[0]}
        if not metrics_by_split(history):
            continue  # the history of a probe has no epochs
        learning_curves(history, at(curves_png(network)), network)
        written.append(at(curves_png(network)))
    return written


def _courses(results: ResultsFiles, at: Callable[[str], Path]) -> list[Path]:
    teacher_courses = courses(results)
    if not teacher_courses:
        return []
    accuracy_by_minutes(teacher_courses, from_random_weights(results), at(COURSES_PNG))
    return [at(COURSES_PNG)]


def _confusions(results: ResultsFiles, at: Callable[[str], Path]) -> list[Path]:
    written, split = [], main_split(results)
    for table in sorted((results.folder / "benchmarks" / "precision").glob("confusion_*.csv")):
        rows = read_results_table(table)
        classes = [row["target"] for row in rows]
        matrix = np.array([[int(row[name]) for name in classes] for row in rows], dtype=np.int64)
        model = table.stem.removeprefix("confusion_")
        confusion_matrix(matrix, classes, at(confusion_png(model)), f"{model} on {split}")
        written.append(at(confusion_png(model)))
    return written


def _reliability(results: ResultsFiles, at: Callable[[str], Path]) -> list[Path]:
    split = main_split(results)
    bins = {
        kind: [
            (number(row["confidence"]), number(row["accuracy"]), int(row["n"]))
            for row in results.reliability
            if row["kind"] == kind and row["split"] == split
        ]
        for kind in CALIBRATION_KINDS
    }
    bins = {kind: points for kind, points in bins.items() if points}
    if not bins:
        return []
    reliability(bins, at(RELIABILITY_PNG))
    return [at(RELIABILITY_PNG)]


def _accuracy(results: ResultsFiles, at: Callable[[str], Path]) -> list[Path]:
    rows = [row for row in results.precision if row["split"] == main_split(results)]
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: KINDS.index(row["kind"]))
    precision_bars(
        [row["model"] for row in rows],
        [row["kind"] for row in rows],
        [number(row["accuracy"]) for row in rows],
        [(number(row["accuracy_low"]), number(row["accuracy_high"])) for row in rows],
        at(ACCURACY_PNG),
        label=f"accuracy on {main_split(results)}",
    )
    return [at(ACCURACY_PNG)]


def _pareto(results: ResultsFiles, at: Callable[[str], Path]) -> list[Path]:
    pairs = pareto_rows(results)
    if len(pairs) < 2:
        return []
    _, first = pairs[0]
    pareto(
        [row["model"] for row, _ in pairs],
        [row["kind"] for row, _ in pairs],
        [number(row["accuracy"]) for row, _ in pairs],
        [number(timing["p50_ms"]) for _, timing in pairs],
        [number(timing["file_mb"] or "0") for _, timing in pairs],
        at(PARETO_PNG),
        x_label=f"p50 latency, ms, at batch {first['batch_size']} on {first['threads']} threads",
        y_label=f"accuracy on {main_split(results)}",
    )
    return [at(PARETO_PNG)]


def pareto_rows(results: ResultsFiles) -> list[tuple[Row, Row]]:
    """(precision row, latency row) per model, all timed under the same conditions as the shipped student.

    The student alone is the same network and has the student's time. An int8 file that is not offered is left out,
    and so is a model that was timed only without preprocessing.
    """
    split = main_split(results)
    student = student_row(results, split)
    student_timing = reported_latency(results, student["model"]) if student else None
    pairs = []
    for row in results.precision:
        timing = reported_latency(results, row["model"])
        if timing is None and row["kind"] == "student_alone":
            timing = student_timing
        offered = row["kind"] != "student_onnx_int8" or int8_is_offered(results)
        if row["split"] == split and timing and student_timing and offered and comparable(timing, student_timing):
            pairs.append((row, timing))
    return pairs


def _number_or_nan(text: str) -> float:
    try:
        return number(text)
    except ValueError:
        return float("nan")  # a history may contain text, such as the name of a phase
