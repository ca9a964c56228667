"""benchmarks/serving.py and documents.py in small: their tables, and a load without an error."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from decant.benchmarking.document_time import DOCUMENT_COLUMNS
from decant.benchmarking.hostile_run import HOSTILE_COLUMNS
from decant.benchmarking.serving_load import LOAD_COLUMNS
from decant.reporting.root_report import study_folders

At = Callable[[str], ModuleType]


def rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == columns
        return list(reader)


def test_it_writes_the_tables_of_load_and_of_hostile_requests(script_at: At, exported: Path, tmp_path: Path) -> None:
    words = ["--model", str(exported / "student.onnx"), "--connections", "4", "--seconds", "2", "--hostile", "12"]
    script_at("benchmarks/serving.py").main([*words, "--out", str(tmp_path)])
    (load,) = rows(tmp_path / "load.csv", LOAD_COLUMNS)
    assert load["errors"] == "0" and int(load["requests"]) > 4 and float(load["page_kb"]) < 100
    assert float(load["requests_per_second"]) > 0 and float(load["bare_per_second"]) > 0
    assert float(load["map_to_answer"]) == pytest.approx(float(load["map_ms"]) / float(load["answer_ms"]), rel=0.01)
    *kinds, whole = rows(tmp_path / "hostile.csv", HOSTILE_COLUMNS)
    assert whole["kind"] == "all" and whole["requests"] == whole["good_answered"] == "12" and whole["failed"] == "0"
    assert sum(int(row["requests"]) for row in kinds) == 12
    assert (tmp_path / "provenance.json").is_file()


def test_the_documents_of_every_study_are_timed(script_at: At, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(study_folders(repository / "results")[0], tmp_path / "results" / "cars")
    words = ["--rounds", "1", "--results", str(tmp_path / "results"), "--out", str(tmp_path)]
    script_at("benchmarks/documents.py").main(words)
    (row,) = rows(tmp_path / "documents.csv", DOCUMENT_COLUMNS)
    assert row["study"] == "cars" and row["wall_s"] == row["slowest_s"] and float(row["wall_s"]) > 0
    assert all(float(row[name]) > 0 for name in ("html_mb", "pdf_mb", "slides_mb"))
