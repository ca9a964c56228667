"""The content of a study's review: teachers compared, the ensemble, the student beside its twin, accuracy and time.

`review_page` makes HTML of it, `review_report` a report in W&B.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from decant.evaluation.tables import difference, number, short, with_interval
from decant.reporting.figures import pareto_rows
from decant.reporting.paired import DIFFERENCE, distillation_gain
from decant.reporting.pareto import pareto_front
from decant.reporting.results_files import ResultsFiles, Row, best_teacher, main_split

SCORES = {"accuracy": "accuracy", "macro precision": "precision_macro", "macro F1": "f1_macro"}
TEACHERS, ENSEMBLE, STUDENTS, TRADE_OFF = "Teachers", "Ensemble", "Student and its twin", "Accuracy and time"
STUDENT_KINDS = ("student", "student_alone", "student_onnx", "student_onnx_int8")


@dataclass(frozen=True)
class Table:
    """Texts in rows; all columns but the first contain numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Curve:
    """A line of a figure. points: x and y, finite."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Section:
    """A part of the review. sentences: plain text. curves: over epochs. points: model -> ms per image and accuracy."""

    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()
    curves: Sequence[Curve] = ()
    points: dict[str, tuple[float, float]] = field(default_factory=dict)


def review_sections(results: ResultsFiles) -> list[Section]:
    """The sections for which there are results."""
    split = main_split(results)
    scored = (teachers(results, split), ensemble(results, split), students(results, split), trade_off(results, split))
    return [*(section for section in scored if section.tables), *weakest_classes(results, split)]


def teachers(results: ResultsFiles, split: str) -> Section:
    rows = [row for row in rows_of(results, split) if row["kind"] == "teacher"]
    best = best_teacher(results, split)
    metric = results.study.get("metric", "accuracy")
    sentences = [f"By val, whose metric is {metric}, {best['model']} is the best teacher."] if best else []
    if any(row["model"].endswith("_tta") for row in rows):
        sentences.append("A row with _tta is the teacher with test-time augmentation.")
    curves = [Curve(name, points(history, f"val_{metric}")) for name, history in results.histories.items()]
    drawn = [curve for curve in curves if len(curve.points) > 1]
    return Section(TEACHERS, sentences, [score_table(results, rows)] if rows else [], drawn)


def points(history: Sequence[Row], column: str) -> list[tuple[float, float]]:
    return [(number(row["epoch"]), number(row[column])) for row in history if row.get(column)]


def ensemble(results: ResultsFiles, split: str) -> Section:
    rows = [row for row in rows_of(results, split) if row["kind"] == "ensemble"]
    weights: dict[str, Any] = results.weights.get("teachers", {})
    weights_table = Table(
        ["teacher", "weight", "temperature"],
        [[name, short(str(row["weight"]), 2), short(str(row["temperature"]), 2)] for name, row in weights.items()],
    )
    pooling = results.weights.get("pooling")
    sentences = [f"Pooling is {pooling}; weights and temperatures were fitted on val."] if pooling else []
    tables = [score_table(results, rows), *([weights_table] if weights else []), *compared(results, "ensemble", split)]
    return Section(ENSEMBLE, sentences, tables if rows else [])


def students(results: ResultsFiles, split: str) -> Section:
    rows = [row for row in rows_of(results, split) if row["kind"] in STUDENT_KINDS]
    sentences = ["The twin, student_alone, is the same network, trained on the given labels without the teachers."]
    gain = distillation_gain(results, split)
    if gain:
        sentences.append(
            f"Student minus twin on {split}, on the same images: accuracy {difference(gain, DIFFERENCE)}, "
            f"p {p_value(gain)}."
        )
    if results.choice:
        sentences.append(f"Shipped: {results.choice.get('shipped', '–')}.")
    tables = [score_table(results, rows), *compared(results, "student_onnx", split)]
    return Section(STUDENTS, sentences, tables if rows else [])


def trade_off(results: ResultsFiles, split: str) -> Section:
    pairs = pareto_rows(results)
    if not pairs:
        return Section(TRADE_OFF, [])
    _, first = pairs[0]
    accuracy = [number(row["accuracy"]) for row, _ in pairs]
    time_ms = [number(timing["p50_ms"]) for _, timing in pairs]
    front = {pairs[index][0]["model"] for index in pareto_front(accuracy, time_ms)}
    cells = [
        [
            row["model"],
            with_interval(row, "accuracy"),
            short(timing["p50_ms"]),
            short(timing["file_mb"], 1),
            "yes" if row["model"] in front else "no",
        ]
        for row, timing in pairs
    ]
    where = f"at batch {first['batch_size']} on {first['threads']} threads"
    sentences = [
        f"p50 is the median time per image, {where}.",
        "A model is on the front if no other model is both as fast and as accurate.",
    ]
    table = Table(["model", f"accuracy on {split}", "p50 ms", "file MB", "on the front"], cells)
    drawn = {row["model"]: (x, y) for (row, _), x, y in zip(pairs, time_ms, accuracy, strict=True)}
    return Section(TRADE_OFF, sentences, [table], points=drawn)


def weakest_classes(results: ResultsFiles, split: str) -> list[Section]:
    """The classes of the exported file, lowest F1 first."""
    rows = [row for row in results.per_class if (row["model"], row["split"]) == ("student_onnx", split)]
    if not rows:
        return []
    ordered = sorted(rows, key=lambda row: number(row["f1"] or "0"))
    columns = ("precision", "recall", "f1", "average_precision")
    cells = [[row["class"], row["n"], *(short(row[column]) for column in columns)] for row in ordered]
    table = Table(["class", "images", "precision", "recall", "F1", "average precision"], cells)
    return [Section("Classes", [f"The exported file on {split}, lowest F1 first."], [table])]


def rows_of(results: ResultsFiles, split: str) -> list[Row]:
    return [row for row in results.precision if row["split"] == split]


def score_table(results: ResultsFiles, rows: Sequence[Row]) -> Table:
    """The scores of models with 95 % intervals, and their accuracy on val."""
    on_val = {row["model"]: row for row in results.precision if row["split"] == "val"}
    cells = [
        [
            row["model"],
            *(with_interval(row, column) for column in SCORES.values()),
            short(on_val.get(row["model"], {}).get("accuracy")),
        ]
        for row in rows
    ]
    split = rows[0]["split"] if rows else ""
    return Table(["model", *(f"{name} on {split}" for name in SCORES), "accuracy on val"], cells)


def compared(results: ResultsFiles, model: str, split: str) -> list[Table]:
    """The paired comparisons of a model with the others; [] if there are none."""
    rows = [row for row in results.comparisons if (row["model"], row["split"]) == (model, split)]
    if not rows:
        return []
    cells = [
        [
            row["other"],
            difference(row, "accuracy_difference"),
            row["only_model_right"],
            row["only_other_right"],
            p_value(row),
        ]
        for row in rows
    ]
    header = [f"{model} minus", "difference in accuracy", f"only {model} right", "only the other right", "p (McNemar)"]
    return [Table(header, cells)]


def p_value(row: Row) -> str:
    """The p of McNemar's test."""
    return "< 0.001" if number(row["mcnemar_p"]) < 0.001 else short(row["mcnemar_p"])
