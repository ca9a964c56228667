"""benchmarks/students.py on the study micro, in a place of its own, and the shipped list of students."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from decant.benchmarking.students import STUDENT_COLUMNS, overrides, read_students
from decant.errors import UserError
from decant.evaluation.tables import read_results_table
from decant.models.backbones import blank_classifier
from decant.reporting.frontier import FIGURES
from decant.study_files import ROOT
from decant.study_reading import load_study

Script = Callable[[str], ModuleType]
SMALL = ["--study", "micro", "--wandb", "disabled", "--set", "data.toy.images=150", "--set", "student.epochs=1"]
SHIPPED = ROOT / "distill" / "students.yaml"


def test_students_learn_the_same_labels_and_are_compared(script_at: Script, tmp_path: Path) -> None:
    file, out = tmp_path / "some.yaml", tmp_path / "out"
    large = {"architecture": "small_cnn", "weights": ["none"], "head": "random", "freeze_norm": False}
    file.write_text(yaml.safe_dump({"own": {}, "large": large, "third": {"epochs": 2}}), encoding="utf-8")
    words = [*SMALL, "--runs", str(tmp_path / "runs"), "--out", str(out), "--file", str(file)]
    script_at("benchmarks/students.py").main([*words, "--students", "own", "large"])
    rows = read_results_table(out / "metrics.csv")
    assert tuple(rows[0]) == STUDENT_COLUMNS and [row["student"] for row in rows] == ["own", "large"]
    own, other = rows
    assert other["architecture"] == "small_cnn" and own["architecture"] != "small_cnn"
    assert float(other["gmacs"]) > float(own["gmacs"]) and float(other["file_mb"]) > float(own["file_mb"])
    assert all(float(row[column]) > 0 for row in rows for column in ("p50_ms", "int8_p50_ms", "train_s"))
    assert all(float(row["int8_file_mb"]) < float(row["file_mb"]) for row in rows)
    assert all((out / file).stat().st_size > 5000 for file in FIGURES)
    store = tmp_path / "runs" / "store"
    assert len(list(store.glob("student/*/finished.json"))) == 2
    teachers = [path.parts[-3] for path in store.glob("soft_labels/*/*/finished.json")]
    assert len(teachers) == len(set(teachers)) > 0, "a teacher's labels were made twice"
    assert not (store / "student_alone").exists(), "twins are not needed"


def test_every_shipped_student_is_a_student() -> None:
    for name, keys in read_students(SHIPPED).items():
        student = load_study("cars_body", overrides(keys)).student
        assert blank_classifier(student.architecture, 3, student.input_px, student.model_args), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 3", "a must be a mapping"),
        ("a: {recipe: x}", "changes recipe or views"),
        ("a: {views: {}}", "recipe or views"),
    ],
)
def test_a_file_of_another_form_is_a_users_mistake(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "students.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_students(path)


def test_an_unknown_student_is_a_users_mistake(script_at: Script, tmp_path: Path) -> None:
    words = [*SMALL, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path), "--students", "lite"]
    with pytest.raises(UserError, match="no student 'lite'"):
        script_at("benchmarks/students.py").main(words)
