"""The benchmarks of no study: in a fresh checkout, without data, each writes its table."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from decant.export.effort import EFFORT_COLUMNS
from decant.export.fidelity import FIDELITY_COLUMNS
from decant.export.preparation import COST_COLUMNS
from decant.export.specimen import exported_specimen
from decant.reporting.cold_start import COLD_START_COLUMNS

At = Callable[[str], ModuleType]


def rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == columns
        return list(reader)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(exported_specimen(tmp_path_factory.mktemp("specimen")))


def test_preprocessing_writes_its_two_tables(script_at: At, model: str, tmp_path: Path) -> None:
    words = ["--model", model, "--calls", "2", "--pictures", "10", "--threads", "1", "--out", str(tmp_path)]
    script_at("benchmarks/preprocessing.py").main(words)
    sizes = [(row["height_px"], row["width_px"]) for row in rows(tmp_path / "preprocessing.csv", COST_COLUMNS)]
    assert sizes == [("300", "400"), ("208", "300"), ("100", "100")]
    assert len(rows(tmp_path / "fidelity.csv", FIDELITY_COLUMNS)) == 10


def test_cold_start_writes_its_table(script_at: At, model: str, tmp_path: Path) -> None:
    script_at("benchmarks/cold_start.py").main(["--model", model, "--processes", "1", "--out", str(tmp_path)])
    assert len(rows(tmp_path / "cold_start.csv", COLD_START_COLUMNS)) == 1


def test_export_time_needs_no_file_at_all(script_at: At, tmp_path: Path) -> None:
    script_at("benchmarks/export_time.py").main(["--pictures", "2", "--out", str(tmp_path)])
    (row,) = rows(tmp_path / "export_time.csv", EFFORT_COLUMNS)
    assert (row["classes"], row["pictures"], row["passed"]) == ("10", "2", "true")
