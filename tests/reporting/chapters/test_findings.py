"""Findings rest on paired comparisons, and are worded as these allow."""

import json
import re
from pathlib import Path

import pytest

from decant.evaluation.tables import write_results_table
from decant.reporting.paired import reversed_row
from decant.reporting.report import report_text
from decant.reporting.results_files import most_accurate_teacher, read_results_files


def section_of(study: Path, title: str = "Results and Key Findings") -> str:
    return report_text(study, study).split(f"## {title}\n")[1].split("\n## ")[0]


def with_difference(study: Path, other: str, low: str, high: str) -> None:
    """Replace the interval of the student's comparison with another model."""
    table = study / "benchmarks" / "precision" / "comparisons.csv"
    changed = {"accuracy_difference_low": low, "accuracy_difference_high": high}
    rows = [row | changed if row["other"] == other else row for row in read_results_files(study).comparisons]
    write_results_table(rows, table)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        ("0.0010", "0.0300", "the student is better"),
        ("-0.0300", "-0.0010", "the twin is better"),
        ("-0.0100", "0.0300", "neither is shown to be better"),
    ],
)
def test_a_difference_is_a_finding_only_if_its_interval_excludes_zero(
    study: Path, low: str, high: str, verdict: str
) -> None:
    with_difference(study, "student_alone", low, high)
    assert f"with one training of each; {verdict}." in section_of(study)
    unhelpful = "distillation, by one training of student and twin" in section_of(study, "Training and Experimentation")
    assert unhelpful == (verdict != "the student is better")


def test_images_to_predict_that_cannot_be_read_are_reported_with_their_answer(study: Path) -> None:
    assert "to predict cannot be read" not in section_of(study)
    metrics = study / "clean" / "metrics.json"
    counts = json.loads(metrics.read_text(encoding="utf-8")) | {"splits_set_aside": {"train": 9, "predict": 1}}
    metrics.write_text(json.dumps(counts), encoding="utf-8")
    sentence = "1 image to predict cannot be read; the submissions give the most frequent class of train for each."
    assert sentence in section_of(study)


def test_without_comparisons_nothing_is_found_to_be_better(study: Path) -> None:
    (study / "benchmarks" / "precision" / "comparisons.csv").unlink()
    assert "better" not in section_of(study)


def test_a_shipped_twin_is_named_and_the_student_is_shown_beside_it(study: Path) -> None:
    choice = {
        "ship": "better", "shipped": "student_alone", "metric": "accuracy", "n": 90, "student": 0.8,
        "student_alone": 0.9, "accuracy_difference": -0.1, "accuracy_difference_low": -0.2,
        "accuracy_difference_high": -0.05,
    }  # fmt: skip
    (study / "export" / "choice.json").write_text(json.dumps(choice))
    text = section_of(study)
    assert text.strip().startswith("The twin's ONNX file has an accuracy of")
    assert "the twin is shipped" in text
    assert re.search(r"^\| student \|", text, flags=re.MULTILINE)


def test_the_table_has_every_metric_that_is_asked_for(study: Path) -> None:
    header = next(line for line in section_of(study).splitlines() if line.startswith("| model"))
    assert header.count("|") == 9 and all(
        name in header for name in ("accuracy", "precision", "recall", "F1", "mAP", "p50 ms", "MB")
    )


def test_the_table_has_every_teacher_once_then_the_ensemble_and_the_student(study: Path) -> None:
    models = re.findall(r"^\| (\w+) \|", section_of(study), flags=re.MULTILINE)
    assert models[:6] == ["model", "lite0", "lite2", "ensemble", "student_alone", "student_onnx"]


def test_a_comparison_turned_round_has_the_opposite_difference_and_interval() -> None:
    row = {
        "model": "a", "other": "b", "only_model_right": "3", "only_other_right": "7", "accuracy_difference": "-0.02",
        "accuracy_difference_low": "-0.05", "accuracy_difference_high": "0.01",
    }  # fmt: skip
    turned = reversed_row(row)
    assert (turned["model"], turned["other"], turned["only_model_right"]) == ("b", "a", "7")
    values = [float(turned[f"accuracy_difference{end}"]) for end in ("", "_low", "_high")]
    assert values == [0.02, -0.01, 0.05]


@pytest.mark.parametrize("best", ["lite0", "lite2"])
def test_the_ensemble_is_compared_with_the_most_accurate_teacher_whatever_the_metric(study: Path, best: str) -> None:
    table = study / "benchmarks" / "precision" / "metrics.csv"
    rows = read_results_files(study).precision
    changed = [row | {"accuracy": "0.9900" if row["model"] == best else "0.5000"} for row in rows]
    write_results_table(changed, table, list(rows[0]))
    row = most_accurate_teacher(read_results_files(study), "test")
    assert row is not None and row["model"] == best
