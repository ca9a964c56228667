"""Provenance contains the command, the code, the machine and the model, and no path of a person's folders."""

import json
import sys
from pathlib import Path

import pytest

from decant.stages.support.provenance import RANDOM_STUDENT, measured_file, record_measurement, short_path
from decant.study_files import ROOT
from decant.timing.random_student import ARCHITECTURE, random_student


def test_paths_of_this_machine_are_not_told() -> None:
    assert short_path(str(ROOT / "distill" / "run.py")) == "distill/run.py"
    assert short_path("--study") == "--study" and short_path("--set") == "--set"
    assert short_path("/home/somebody/decant_runs") == "…/decant_runs"
    assert short_path("--runs=/home/somebody/decant_runs") == "--runs=…/decant_runs"
    assert short_path("teachers.lite1.epochs=3") == "teachers.lite1.epochs=3"


def test_no_way_out_of_the_checkout_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "benchmarks")
    assert short_path("../../somebody/decant_runs") == "…/decant_runs"
    assert short_path("--model=../distill/run.py") == "--model=distill/run.py"


def test_every_table_of_a_folder_has_an_entry_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "student.onnx"
    model.write_bytes(b"abc")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "x.py"), "--model", str(model)])
    record_measurement(tmp_path, ["b.csv", "c.csv"], measured_file(model))
    record_measurement(tmp_path, ["a.csv", "c.csv"], RANDOM_STUDENT)
    text = (tmp_path / "provenance.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert list(found) == ["a.csv", "b.csv", "c.csv"]
    assert all(set(entry) == {"command", "commit", "model", "machine"} for entry in found.values())
    assert found["a.csv"]["model"] == found["c.csv"]["model"] == RANDOM_STUDENT
    assert found["b.csv"]["model"] == {"name": "…/student.onnx", "digest": "ba7816bf8f01cfea"}  # SHA-256, FIPS 180
    assert found["b.csv"]["command"] == "python benchmarks/x.py --model …/student.onnx"
    assert found["b.csv"]["machine"]["processor"] and str(tmp_path) not in text


def test_the_specimen_is_called_what_it_is() -> None:
    made = random_student()
    assert ARCHITECTURE == "tf_efficientnet_lite0" and made.card["weights"] == "none"
    px, classes = made.preprocessing.input_px, len(made.classes)
    assert RANDOM_STUDENT["name"] == f"EfficientNet-Lite0 of random weights, {px} px, {classes} classes"
