"""The benchmarks of no study: in a fresh checkout, without data, each writes its table."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from decant.stages.support.provenance import RANDOM_STUDENT
from decant.timing.cold_start import COLD_START_COLUMNS
from decant.timing.export_time import EXPORT_TIME_COLUMNS
from decant.timing.prediction_rate import RATE_COLUMNS
from decant.timing.preprocessing_cost import COST_COLUMNS
from decant.timing.preprocessing_error import PREPROCESSING_ERROR_COLUMNS
from decant.timing.random_student import exported_random_student

At = Callable[[str], ModuleType]


def rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == columns
        return list(reader)


def provenance(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert all(entry["machine"]["processor"] and "commit" in entry and entry["command"] for entry in found.values())
    return found


def models_measured(folder: Path) -> dict[str, str]:
    """Table -> digest of the model that it is of."""
    return {table: entry["model"]["digest"] for table, entry in provenance(folder).items()}


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(exported_random_student(tmp_path_factory.mktemp("random_student")))


def test_preprocessing_writes_its_two_tables(script_at: At, model: str, tmp_path: Path) -> None:
    words = ["--model", model, "--calls", "2", "--images", "10", "--threads", "1", "--out", str(tmp_path)]
    script_at("benchmarks/preprocessing.py").main(words)
    sizes = [(row["height_px"], row["width_px"]) for row in rows(tmp_path / "preprocessing.csv", COST_COLUMNS)]
    assert sizes == [("300", "400"), ("208", "300"), ("100", "100")]
    assert len(rows(tmp_path / "fidelity.csv", PREPROCESSING_ERROR_COLUMNS)) == 10
    assert models_measured(tmp_path) == {name: digest_of(Path(model)) for name in ("preprocessing.csv", "fidelity.csv")}


def test_cold_start_writes_its_table(script_at: At, model: str, tmp_path: Path) -> None:
    script_at("benchmarks/cold_start.py").main(["--model", model, "--processes", "1", "--out", str(tmp_path)])
    assert len(rows(tmp_path / "cold_start.csv", COLD_START_COLUMNS)) == 1
    assert models_measured(tmp_path) == {"cold_start.csv": digest_of(Path(model))}


def test_export_time_needs_no_file_at_all(script_at: At, tmp_path: Path) -> None:
    script_at("benchmarks/export_time.py").main(["--images", "2", "--out", str(tmp_path)])
    (row,) = rows(tmp_path / "export_time.csv", EXPORT_TIME_COLUMNS)
    assert (row["classes"], row["images"], row["passed"]) == ("10", "2", "true")
    (entry,) = provenance(tmp_path).values()
    assert entry["model"] == RANDOM_STUDENT


def test_predict_writes_its_table(script_at: At, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = script_at("benchmarks/predict.py")
    monkeypatch.setattr(script, "SIZES", ((30, 40),))
    words = ["--model", model, "--images", "25", "--rounds", "2", "--threads", "1", "2", "--out", str(tmp_path)]
    script.main(words)
    table = rows(tmp_path / "predict.csv", RATE_COLUMNS)
    assert [(row["threads"], row["images"], row["rounds"]) for row in table] == [("1", "25", "2"), ("2", "25", "2")]
    assert all(float(row["to_bare_low"]) <= float(row["to_bare"]) <= float(row["to_bare_high"]) for row in table)
    assert models_measured(tmp_path) == {"predict.csv": digest_of(Path(model))}


def test_the_number_formats_name_the_study_and_the_file(
    script_at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = script_at("benchmarks/formats.py")
    (tmp_path / "student.onnx").write_bytes(b"of micro")
    monkeypatch.setattr(script, "measure_formats", lambda experiment, out: None)
    monkeypatch.setattr(script, "stage_result", lambda experiment, name: SimpleNamespace(folder=tmp_path))
    script.main(["--study", "micro", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)])
    assert models_measured(tmp_path) == {
        name: digest_of(tmp_path / "student.onnx") for name in ("formats.csv", "format_profile.csv")
    }
    assert provenance(tmp_path)["formats.csv"]["model"]["name"] == "the student of micro"
