"""The section on the exported file in the root report, from invented tables."""

import json
from pathlib import Path

import pytest

from decant.benchmarking.number_formats import FORMAT_COLUMNS
from decant.evaluation.tables import write_results_table
from decant.reporting.exported_file import exported_file_section
from decant.reporting.root_report import MEASUREMENTS, stale_root_reports, write_root_report
from decant.timing.cold_start import COLD_START_COLUMNS
from decant.timing.export_time import EXPORT_TIME_COLUMNS
from decant.timing.prediction_rate import RATE_COLUMNS
from decant.timing.preprocessing_cost import COST_COLUMNS
from decant.timing.preprocessing_error import PREPROCESSING_ERROR_COLUMNS

Columns = tuple[str, ...]


def write(folder: Path, name: str, columns: Columns, *rows: dict[str, object]) -> None:
    """Write a table; cells that a row does not name are 7.77."""
    write_results_table([dict.fromkeys(columns, "7.77") | row for row in rows], folder / name, columns)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export = tmp_path / "results" / "export"
    write(
        export, "preprocessing.csv", COST_COLUMNS,
        {"height_px": 300, "width_px": 400, "threads": 1, "full_to_apart": 1.0488, "cpu_full_to_apart": 0.9},
        {"height_px": 300, "width_px": 400, "threads": 2, "full_to_apart": 0.9796, "cpu_full_to_apart": 10.5},
        {"height_px": 100, "width_px": 100, "threads": 2, "full_to_apart": 1.0, "cpu_full_to_apart": 1.0},
    )  # fmt: skip
    write(
        export, "fidelity.csv", PREPROCESSING_ERROR_COLUMNS,
        {"images": 600, "border_grey_levels": 0.0012, "inner_grey_levels": 0.0089, "mean_grey_levels": 0.5},
        {"images": 600, "border_grey_levels": 0.0034, "inner_grey_levels": 0.0011, "mean_grey_levels": 0.5},
    )  # fmt: skip
    write(
        export, "cold_start.csv", COLD_START_COLUMNS,
        {"processes": 15, "total_s": 0.168, "total_low_s": 0.159, "total_high_s": 0.215},
    )  # fmt: skip
    write(
        export, "export_time.csv", EXPORT_TIME_COLUMNS,
        {"images": 200, "export_s": 0.543, "verify_s": 14.7, "total_s": 15.2, "passed": True},
    )  # fmt: skip
    write(
        export, "predict.csv", RATE_COLUMNS, {"threads": 1, "to_bare": 0.9712}, {"threads": 2, "to_bare": 1.5},
    )  # fmt: skip
    numbers = {"study": "demo", "file_mb": 3.84, "val_accuracy": 0.98, "as_fp32": 0.99, "p50_ms": 1.25}
    write(
        export, "formats.csv", FORMAT_COLUMNS,
        numbers | {"format": "int8", "threads": 1, "times_as_fast": 2.5},
        numbers | {"format": "int8", "threads": 2, "times_as_fast": 1.5},
    )  # fmt: skip
    return export


def test_every_table_is_shown_with_its_numbers_and_its_link(folder: Path) -> None:
    lines = exported_file_section(folder, folder.parent.parent).splitlines()
    assert lines[0] == "## The exported file"
    preprocessing, fidelity, cold_start, export_time, predict = [line for line in lines if line.startswith("- ")]
    assert "takes 0.980 to 1.049 times as long" in preprocessing
    assert "0.900 to 10.500 times as much" in preprocessing
    assert "(2 photos, threads: 1, 2)" in preprocessing
    assert "at most 0.0089 of 255 grey levels" in fidelity and "on 1,200 images" in fidelity
    assert "after 0.168 s" in cold_start and "(0.159 to 0.215 s in 15 processes)" in cold_start
    assert "Export takes 0.543 s" in export_time and "on 200 images takes 14.7 s, in total 15.2 s:" in export_time
    assert "0.971 to 1.500 times as many images per second" in predict and "(threads: 1, 2)" in predict
    for line, name in (
        (preprocessing, "preprocessing"),
        (fidelity, "fidelity"),
        (cold_start, "cold_start"),
        (export_time, "export_time"),
        (predict, "predict"),
    ):
        assert line.endswith(f"[results/export/{name}.csv](results/export/{name}.csv).")
    assert "| int8 | 3.84 | 0.980 | 0.990 | 1.25 | 1.500 |" in lines  # the row with 2 threads
    assert "2.500" not in "".join(lines)


def test_a_failed_verification_is_reported(folder: Path) -> None:
    write(folder, "export_time.csv", EXPORT_TIME_COLUMNS, {"images": 200, "passed": False})
    assert "verification **failed**" in exported_file_section(folder, folder)


def test_machine_commit_and_model_are_named_if_they_were_recorded(folder: Path) -> None:
    before = exported_file_section(folder, folder)
    assert "Measured on" not in before
    entry = {
        "command": "python x.py", "commit": "abc+", "machine": {"processor": "Zen 4", "cores": 2},
        "model": {"name": "runs/student.onnx", "digest": "0123"},
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps({"cold_start.csv": entry}))
    after = exported_file_section(folder, folder)
    (line,) = set(after.splitlines()) - set(before.splitlines())
    for part in ("(cold_start.csv). Measured on Zen 4 with 2 cores", "`abc+`", "runs/student.onnx (`0123`)"):
        assert part in line


def test_a_missing_table_is_left_out(folder: Path) -> None:
    (folder / "cold_start.csv").unlink()
    (folder / "formats.csv").unlink()
    text = exported_file_section(folder, folder)
    assert "A new process" not in text and "formats" not in text and "| " not in text
    assert exported_file_section(folder / "none", folder) == ""


def test_a_changed_number_makes_the_measurements_stale(folder: Path) -> None:
    results = folder.parent
    out = results.parent / "REPORT.md"
    write_root_report(results, out)
    assert "## The exported file" in (results / MEASUREMENTS).read_text(encoding="utf-8") and not stale_root_reports(
        results, out
    )
    write(folder, "cold_start.csv", COLD_START_COLUMNS, {"processes": 15, "total_s": 0.169})
    assert stale_root_reports(results, out) == [results / MEASUREMENTS]
