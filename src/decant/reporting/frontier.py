"""The section on other students: the tables and figures of `benchmarks/students.py`."""

from collections.abc import Sequence
from pathlib import Path

from decant.evaluation.markdown import markdown_image, markdown_table, section
from decant.evaluation.tables import joined, number, plural, short, with_interval
from decant.reporting.pareto import pareto, pareto_front
from decant.reporting.results_files import ResultsFiles, Row

FOLDER = "benchmarks/students"
FIGURES = {  # file -> prefix of the columns of accuracy and size, column of the horizontal axis, its label
    "frontier.png": ("", "p50_ms", "p50 latency of the fp32 file, ms, one image, 2 threads"),
    "frontier_int8.png": ("int8_", "int8_p50_ms", "p50 latency of the int8 file, ms, one image, 2 threads"),
    "frontier_macs.png": ("", "gmacs", "multiply-adds, 10⁹"),
}


def draw_frontier(rows: Sequence[Row], folder: Path) -> None:
    """Draw accuracy on val against times and against multiply-adds, with file size as area; two students at least.

    Students whose int8 file failed its checks are not in the figure of int8 files.
    """
    for file, (prefix, column, label) in FIGURES.items():
        shown = [row for row in rows if row[f"{prefix}val_accuracy"]]
        if len(shown) < 2:
            continue
        pareto(
            [row["student"] for row in shown],
            ["student_onnx_int8" if prefix else "student_onnx"] * len(shown),
            [number(row[f"{prefix}val_accuracy"]) for row in shown],
            [number(row[column]) for row in shown],
            [number(row[f"{prefix}file_mb"]) for row in shown],
            folder / file,
            x_label=label,
            y_label="accuracy on val",
        )


def students_section(results: ResultsFiles, base: Path) -> str:
    rows = results.students
    if len(rows) < 2:
        return ""
    front = pareto_front([number(row["val_accuracy"]) for row in rows], [number(row["p50_ms"]) for row in rows])
    names = joined([rows[index]["student"] for index in front])
    return section(
        "Other students",
        f"{plural(len(rows), 'student')} learned the same soft labels. On val no other student is both as fast and as "
        f"accurate as {names}. One training each: differences within the intervals may be chance.",
        markdown_table(
            ["student", "network", "weights", "px", "10⁶ weights", "GMAC", "val", "accuracy (95 % interval)", "p50 ms",
             "MB", "int8 accuracy", "int8 p50 ms", "int8 MB"],
            [_cells(row) for row in rows],
            left=3,
        ),
        *(markdown_image(results.folder / FOLDER / file, base, label) for file, (_, _, label) in FIGURES.items()),
    )  # fmt: skip


def _cells(row: Row) -> list[str]:
    return [
        row["student"],
        row["architecture"],
        row["init"],
        row["input_px"],
        row["parameters_millions"],
        row["gmacs"],
        short(row["val_accuracy"]),
        with_interval(row, "accuracy"),
        row["p50_ms"],
        row["file_mb"],
        short(row["int8_accuracy"]),
        row["int8_p50_ms"],
        row["int8_file_mb"],
    ]
