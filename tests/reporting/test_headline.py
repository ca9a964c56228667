"""The headline, the choice of the best teacher, and the quoted latency."""

import csv
import shutil
from pathlib import Path

import pytest

from decant.errors import UserError
from decant.evaluation.tables import short
from decant.reporting.report import headline
from decant.reporting.results_files import best_teacher, read_results_files, reported_latency


def rows_of(study: Path, table: str) -> list[dict[str, str]]:
    with (study / "benchmarks" / table / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def row_of(study: Path, model: str, table: str = "precision", **other: str) -> dict[str, str]:
    (row,) = [row for row in rows_of(study, table) if {"model": model, **other}.items() <= row.items()]
    return row


def test_the_headline_compares_the_student_with_the_ensemble_and_the_student_alone(study: Path) -> None:
    line = headline(study)
    student, ensemble = row_of(study, "student_onnx", split="test"), row_of(study, "ensemble", split="test")
    assert "\n" not in line and line.startswith("student_onnx on test (n 150): accuracy ")
    assert short(student["accuracy"]) in line and short(student["precision_macro"]) in line
    assert f"ensemble {short(ensemble['accuracy'])} (" in line and "student alone" in line
    assert line.endswith("| 3.20 ms | 13.6 MB")


def test_a_headline_without_a_student_is_a_user_error(study: Path) -> None:
    shutil.rmtree(study / "benchmarks")
    with pytest.raises(UserError, match="run the benchmarks"):
        headline(study)


def test_the_best_teacher_is_chosen_on_val_and_shown_on_test(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "metrics.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("precision_macro")  # the study's metric

    def with_score(line: str, prefix: str, score: str) -> str:
        cells = line.split(",")
        return ",".join([*cells[:column], score, *cells[column + 1 :]]) if line.startswith(prefix) else line

    lines = [with_score(line, "lite0,teacher,val", "0.9999") for line in lines]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    row = best_teacher(read_results_files(study), "test")
    assert row is not None and (row["model"], row["split"]) == ("lite0", "test")


def test_the_quoted_time_is_for_one_image_on_two_threads_with_preprocessing(study: Path) -> None:
    table = study / "benchmarks" / "latency" / "metrics.csv"
    header, first = table.read_text(encoding="utf-8").splitlines()[:2]
    template = dict(zip(header.split(","), first.split(","), strict=True))
    variants = [
        {"graph": "bare", "threads": "2", "batch_size": "1", "p50_ms": "1"},
        {"graph": "full", "threads": "2", "batch_size": "8", "p50_ms": "2"},
        {"graph": "full", "threads": "1", "batch_size": "1", "p50_ms": "3"},
        {"graph": "full", "threads": "2", "batch_size": "1", "p50_ms": "5"},
        {"graph": "full", "threads": "2", "batch_size": "1", "p50_ms": "4"},
        {"graph": "full", "threads": "8", "batch_size": "1", "p50_ms": "0.5"},
    ]
    lines = [",".join({**template, **variant}.values()) for variant in variants]
    table.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    row = reported_latency(read_results_files(study), template["model"])
    assert row is not None and row["p50_ms"] == "4"
    assert reported_latency(read_results_files(study), "unknown") is None
