"""The section on precision: its numbers are those of the tables, its sentences explain what is comparable."""

import csv
import json
import re
from pathlib import Path

import pytest

from decant.evaluation.tables import short
from decant.reporting.report import appendix_text


def precision_text(study: Path) -> str:
    return appendix_text(study, study).split("## Benchmarks: precision")[1].split("\n## ")[0]


def change_study(study: Path, **changes: object) -> None:
    settings = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(settings | changes))


@pytest.mark.parametrize("model", ["lite0", "lite2", "ensemble", "student_alone", "student", "student_onnx"])
def test_the_precision_table_has_the_numbers_of_the_csv(study: Path, model: str) -> None:
    section = precision_text(study)
    with (study / "benchmarks" / "precision" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if (row["model"], row["split"]) == (model, "test")]
    (line,) = [line for line in section.splitlines() if line.startswith(f"| {model} | test |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2] == row["n"] == "150"
    assert cells[5:] == [
        short(row[c]) for c in ("recall_macro", "f1_macro", "map_macro", "nll", "ece", "agreement_with_ensemble")
    ]


def test_accuracy_with_and_without_duplicates_is_shown_with_their_number(study: Path) -> None:
    section = precision_text(study)
    assert "12 of 150 images of test had a near duplicate in train" in section
    assert "9 were set aside and 5 were trained on" in section
    assert "| accuracy | all (150) | with a duplicate (12) | without (138) |" in section
    with (study / "benchmarks" / "precision" / "near_duplicates.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    for model in ("lite2", "ensemble", "student_onnx"):
        cells = [
            f"{short(row['accuracy'])} ({short(row['accuracy_low'])}–{short(row['accuracy_high'])})"
            if int(row["n"]) > 20
            else short(row["accuracy"])  # an interval of 12 images is not reliable
            for row in rows
            if row["model"] == model
        ]
        assert len(cells) == 3 and "(" not in cells[1]
        assert f"| {model} | {' | '.join(cells)} |" in section


def test_a_split_without_duplicates_gets_one_sentence(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "near_duplicates.csv"
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if ",test," not in line]
    table.write_text("\n".join(lines).replace(",val,", ",test,") + "\n", encoding="utf-8")  # val has none
    assert "No image of test has a near duplicate in train." in precision_text(study)
    assert "with a duplicate (" not in precision_text(study)
    change_study(study, clean={"policy": "report", "near_duplicates": False})
    assert "No image of test has an exact duplicate in train." in precision_text(study)


def test_results_without_the_table_of_duplicates_have_a_report(study: Path) -> None:
    (study / "benchmarks" / "precision" / "near_duplicates.csv").unlink()
    assert "duplicate" not in precision_text(study) and "student_onnx on test, per class:" in precision_text(study)


def test_calibrated_models_are_named(study: Path) -> None:
    assert "probabilities of ensemble and student_onnx are calibrated" in precision_text(study)
    assert "does not change the predictions of a single network" in precision_text(study)
    assert "The ensemble's temperatures are applied to its teachers before pooling" in precision_text(study)
    table = study / "benchmarks" / "precision" / "metrics.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    raw = [line for line in lines if not line.startswith(("ensemble,", "student_onnx,"))]
    table.write_text("\n".join(raw) + "\n", encoding="utf-8")
    assert "temperature" not in precision_text(study)


def test_without_an_ensemble_its_temperatures_are_not_mentioned(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "metrics.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("ensemble,")) + "\n", encoding="utf-8")
    assert "of student_onnx are calibrated" in precision_text(study) and "pooling" not in precision_text(study)


def test_the_uncalibrated_model_of_the_reliability_figure_is_named(study: Path) -> None:
    sentence = "shows student_alone uncalibrated"
    assert sentence not in precision_text(study)  # there is no figure yet
    (study / "benchmarks" / "precision" / "reliability.png").touch()
    assert sentence in precision_text(study)
    table = study / "benchmarks" / "precision" / "reliability.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(line for line in lines if "student_alone" not in line) + "\n", encoding="utf-8")
    assert sentence not in precision_text(study)


@pytest.mark.parametrize(("metric", "column", "name"), [("precision_macro", 6, "precision"), ("accuracy", 8, "F1")])
def test_of_many_classes_the_worst_by_the_studys_metric_are_shown(
    study: Path, metric: str, column: int, name: str
) -> None:
    change_study(study, metric=metric)
    table = study / "benchmarks" / "precision" / "per_class.csv"
    header = table.read_text(encoding="utf-8").splitlines()[0]
    rows = []
    for number in range(40):
        precision, f1 = 0.5 + number / 100, 0.9 - number / 100  # the worst by precision are the best by F1
        rows.append(f"student_onnx,student_onnx,test,c{number},30,{number},{precision:.4f},0.8,{f1:.4f},0.9")
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    section = precision_text(study)
    assert f"student_onnx on test, the 25 classes of 40 with the lowest {name}:" in section
    worst = min(rows, key=lambda row: float(row.split(",")[column])).split(",")
    shown = [line for line in section.splitlines() if re.match(r"\| c\d", line)]
    cells = [worst[3], "30", worst[5], *(short(text) for text in worst[6:])]
    assert len(shown) == 25 and shown[0] == f"| {' | '.join(cells)} |"


def test_the_accepted_predictions_are_counted_with_their_precision(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "accept.csv"
    with table.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    section = precision_text(study)
    assert f"{row['accepted']} of 150 predictions of student_onnx on test are accepted" in section
    assert f"precision is {short(row['precision'])} ({short(row['precision_low'])}–" in section
    assert ("did not show" in section) == (row["shown"] == "false")


def test_results_without_the_table_of_accepted_predictions_have_a_report(study: Path) -> None:
    (study / "benchmarks" / "precision" / "accept.csv").unlink()
    assert "are accepted" not in precision_text(study)
