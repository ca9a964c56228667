"""Pretrained teachers beside teachers from random weights: the paragraph, the figure and the columns of cost."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from decant.evaluation.intervals import comparison_row
from decant.evaluation.tables import write_results_table
from decant.reporting.figures import render_figures
from decant.reporting.report import appendix_text
from decant.reporting.results_files import read_results_files
from decant.reporting.transfer import COURSES_PNG, courses


def write_history(study: Path, name: str, accuracies: list[float], speeds: list[float]) -> None:
    rows: list[dict[str, object]] = [
        {"epoch": epoch, "loss": 1.0, "val_accuracy": accuracy, "images_per_second": speed}
        for epoch, (accuracy, speed) in enumerate(zip(accuracies, speeds, strict=True), 1)
    ]
    write_results_table(rows, study / "teachers" / f"{name}.csv")


@pytest.fixture
def both(study: Path) -> Path:
    """A study whose teacher lite0 was trained from random weights, for 30 minutes, and lite2 from pretrained ones."""
    write_history(study, "lite0", [0.4, 0.5, 0.75], [200, 100, 50])
    write_history(study, "lite2", [0.6, 0.8], [40, 40])
    provenance = json.loads((study / "provenance.json").read_text())
    provenance |= {"weights": {"lite0": "none", "lite2": "wheel"}}
    provenance |= {"seconds": {"teachers/lite0": 1800.0, "teachers/lite2": 640.0}}
    (study / "provenance.json").write_text(json.dumps(provenance))
    set_folds(study, 0)
    return study


def set_folds(study: Path, folds: int) -> None:
    settings = json.loads((study / "study.json").read_text())
    settings["teachers"]["lite0"]["folds"] = folds
    (study / "study.json").write_text(json.dumps(settings))


def teachers_text(study: Path) -> str:
    return appendix_text(study, study).split("## Teachers")[1].split("\n## ")[0]


def test_the_time_of_an_epoch_follows_from_its_speed(both: Path) -> None:
    found = courses(read_results_files(both))
    assert found["lite2"] == [(pytest.approx(640 / 120), 0.6), (pytest.approx(640 / 60), 0.8)]
    assert [minutes for minutes, _ in found["lite0"]] == pytest.approx([30 / 7, 90 / 7, 30])


def test_a_single_course_or_one_of_unknown_length_is_not_drawn(study: Path) -> None:
    assert courses(read_results_files(study)) == {}


def test_a_teacher_with_folds_has_no_course(both: Path) -> None:
    """Its history is that of one fold, its time that of all."""
    set_folds(both, 5)
    assert courses(read_results_files(both)) == {}
    assert "random weights" not in teachers_text(both)


def test_the_best_of_each_kind_are_named_with_accuracy_and_cost(both: Path) -> None:
    text = teachers_text(both)
    with (both / "benchmarks" / "precision" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file) if row["split"] == "test"}
    pretrained, scratch = (f"{float(rows[name]['accuracy']):.3f}" for name in ("lite2", "lite0"))
    assert f"pretrained weights, lite2, has an accuracy of {pretrained}" in text
    assert "on test after 2 epochs and 10.7 minutes" in text
    assert f"from random weights, lite0, has {scratch}" in text and "after 3 epochs and 30.0 minutes" in text
    assert (
        "After its first epoch lite2 has 0.600 on val. Teachers from random weights reach that: lite0 after 3" in text
    )


def test_what_is_never_reached_is_said(both: Path) -> None:
    write_history(both, "lite0", [0.4, 0.5, 0.55], [50, 50, 50])
    assert "reach that: lite0 never." in teachers_text(both)


@pytest.mark.parametrize(
    "right, verdict", [(150, "lite2 is better"), (0, "lite0 is better"), (75, "do not show which of the two is better")]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_verdict_is_that_of_the_paired_comparison(both: Path, right: int, verdict: str, swapped: bool) -> None:
    """lite2 is right on the first `right` images of 150, lite0 on the others."""
    targets = [0] * 150
    answers = {"lite2": [0] * right + [1] * (150 - right), "lite0": [1] * right + [0] * (150 - right)}
    first, other = ("lite0", "lite2") if swapped else ("lite2", "lite0")
    row = comparison_row(first, other, "test", *map(np.array, (targets, answers[first], answers[other])))
    write_results_table([row], both / "benchmarks" / "precision" / "comparisons.csv")
    text = teachers_text(both)
    assert verdict in text
    assert f"same images is {right / 75 - 1:+.3f} (" in text


def test_teachers_of_one_kind_have_no_paragraph(both: Path) -> None:
    provenance = json.loads((both / "provenance.json").read_text())
    provenance["weights"]["lite0"] = "wheel"
    (both / "provenance.json").write_text(json.dumps(provenance))
    assert "random weights" not in teachers_text(both)


def test_the_figure_is_drawn_and_shown(both: Path) -> None:
    assert both / COURSES_PNG in render_figures(both)
    assert f"]({COURSES_PNG})" in teachers_text(both)


def test_the_table_has_epochs_and_minutes(both: Path) -> None:
    rows = [line for line in teachers_text(both).splitlines() if line.startswith("| lite")]
    assert [[cell.strip() for cell in row.split("|")][5:7] for row in rows] == [["3", "30.0"], ["2", "10.7"]]
