"""The report's section on other students."""

from pathlib import Path
from typing import Any

import pytest

from decant.benchmarking.students import STUDENT_COLUMNS
from decant.evaluation.tables import read_results_table, write_results_table
from decant.reporting import frontier
from decant.reporting.frontier import FIGURES, FOLDER, draw_frontier
from decant.reporting.report import appendix_text

STUDENTS = {"slow": (0.90, 5.0), "fast": (0.85, 1.0), "worse": (0.84, 3.0)}  # val accuracy, ms


@pytest.fixture
def students(study: Path) -> Path:
    rows = []
    for name, (accuracy, ms) in STUDENTS.items():
        row = {**dict.fromkeys(STUDENT_COLUMNS, 0.5), "student": name, "architecture": "lite0", "init": "wheel"}
        rows.append(row | {"input_px": "96", "val_accuracy": accuracy, "p50_ms": ms, "gmacs": ms / 10, "file_mb": ms})
    write_results_table(rows, study / FOLDER / "metrics.csv", STUDENT_COLUMNS)
    return study


def section_text(study: Path) -> str:
    return appendix_text(study, study).split("## Other students")[1].split("\n## ")[0]


def test_the_undominated_students_are_named(students: Path) -> None:
    text = section_text(students)
    assert "3 students learned the same soft labels" in text and "as fast and as accurate as fast and slow." in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if "lite0" in line] == list(STUDENTS)


def test_figures_are_shown_once_they_are_drawn(students: Path) -> None:
    assert "frontier" not in section_text(students)
    draw_frontier(read_results_table(students / FOLDER / "metrics.csv"), students / FOLDER)
    assert all(file in section_text(students) for file in FIGURES)


def test_students_without_an_int8_file_are_left_out_of_its_figure(
    students: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, tuple[list[str], list[float]]] = {}

    def noted(names: list[str], kinds: list[str], accuracy: list[float], x: list[float], *rest: Any, **_: str) -> None:
        drawn[rest[1].name] = names, x

    monkeypatch.setattr(frontier, "pareto", noted)
    rows = read_results_table(students / FOLDER / "metrics.csv")
    rows[1] |= {"int8_val_accuracy": "", "int8_p50_ms": "", "int8_file_mb": ""}
    draw_frontier(rows, students / FOLDER)
    assert drawn["frontier.png"] == (list(STUDENTS), [5.0, 1.0, 3.0])
    assert drawn["frontier_int8.png"] == (["slow", "worse"], [0.5, 0.5])
    assert list(drawn) == list(FIGURES)


def test_without_the_table_there_is_no_section(study: Path) -> None:
    assert "Other students" not in appendix_text(study, study)
