"""What the root report says of the exported file, from tables made up here."""

import json
from pathlib import Path

import pytest

from decant.evaluation.tables import write_results_table
from decant.reporting.exported_file import exported_file_section
from decant.reporting.report import is_root_stale, write_root_report
from decant.stages.support.number_formats import FORMAT_COLUMNS
from decant.timing.cold_start import COLD_START_COLUMNS
from decant.timing.export_time import EXPORT_TIME_COLUMNS
from decant.timing.preprocessing_cost import COST_COLUMNS
from decant.timing.preprocessing_error import PREPROCESSING_ERROR_COLUMNS

Columns = tuple[str, ...]


def write(folder: Path, name: str, columns: Columns, *rows: dict[str, object]) -> None:
    """Rows that are 7.77 in all that they do not name."""
    write_results_table([dict.fromkeys(columns, "7.77") | row for row in rows], folder / name, columns)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "results" / "export"
    write(
        place, "preprocessing.csv", COST_COLUMNS,
        {"height_px": 300, "width_px": 400, "threads": 1, "full_to_apart": 1.0488, "cpu_full_to_apart": 0.9},
        {"height_px": 300, "width_px": 400, "threads": 2, "full_to_apart": 0.9796, "cpu_full_to_apart": 10.5},
        {"height_px": 100, "width_px": 100, "threads": 2, "full_to_apart": 1.0, "cpu_full_to_apart": 1.0},
    )  # fmt: skip
    write(
        place, "fidelity.csv", PREPROCESSING_ERROR_COLUMNS,
        {"pictures": 600, "border_grey_levels": 0.0012, "inner_grey_levels": 0.0089, "mean_grey_levels": 0.5},
        {"pictures": 600, "border_grey_levels": 0.0034, "inner_grey_levels": 0.0011, "mean_grey_levels": 0.5},
    )  # fmt: skip
    write(
        place, "cold_start.csv", COLD_START_COLUMNS,
        {"processes": 15, "total_s": 0.168, "total_low_s": 0.159, "total_high_s": 0.215},
    )  # fmt: skip
    write(
        place, "export_time.csv", EXPORT_TIME_COLUMNS,
        {"pictures": 200, "export_s": 0.543, "verify_s": 14.7, "total_s": 15.2, "passed": True},
    )  # fmt: skip
    numbers = {"study": "demo", "file_mb": 3.84, "val_accuracy": 0.98, "as_fp32": 0.99, "p50_ms": 1.25}
    write(
        place, "formats.csv", FORMAT_COLUMNS,
        numbers | {"format": "int8", "threads": 1, "times_as_fast": 2.5},
        numbers | {"format": "int8", "threads": 2, "times_as_fast": 1.5},
    )  # fmt: skip
    return place


def test_every_table_has_its_numbers_and_its_link(folder: Path) -> None:
    lines = exported_file_section(folder, folder.parent.parent).splitlines()
    assert lines[0] == "## The exported file"
    inside, picture, start, effort = [line for line in lines if line.startswith("- ")]
    assert "takes 0.980 to 1.049 times as long" in inside and "0.900 to 10.500 times as much" in inside
    assert "(2 photos, threads: 1, 2)" in inside
    assert "at most 0.0089 grey levels" in picture and "on 1,200 images" in picture
    assert "after 0.168 s, imports included (0.159 to 0.215 s in 15 processes)" in start
    assert "Export takes 0.543 s and verification on 200 images 14.7 s, 15.2 s together:" in effort
    for line, name in (
        (inside, "preprocessing"),
        (picture, "fidelity"),
        (start, "cold_start"),
        (effort, "export_time"),
    ):
        assert line.endswith(f"[results/export/{name}.csv](results/export/{name}.csv).")
    assert "| int8 | 3.84 | 0.980 | 0.990 | 1.25 | 1.500 |" in lines  # of 2 threads
    assert "2.500" not in "".join(lines)


def test_a_failed_verification_is_said(folder: Path) -> None:
    write(folder, "export_time.csv", EXPORT_TIME_COLUMNS, {"pictures": 200, "passed": False})
    assert "it **failed**" in exported_file_section(folder, folder)


def test_what_was_measured_on_which_machine_is_said_where_it_is_known(folder: Path) -> None:
    before = exported_file_section(folder, folder)
    assert "Measured on" not in before
    entry = {
        "command": "python x.py", "commit": "abc+", "machine": {"processor": "Zen 4", "cores": 2},
        "model": {"name": "runs/student.onnx", "digest": "0123"},
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps({"cold_start.csv": entry}))
    said = " Measured on Zen 4, 2 cores, with the code of `abc+`, for runs/student.onnx (`0123`)."
    text = exported_file_section(folder, folder)
    assert text == before.replace("(cold_start.csv).", f"(cold_start.csv).{said}")


def test_a_missing_table_leaves_no_trace(folder: Path) -> None:
    (folder / "cold_start.csv").unlink()
    (folder / "formats.csv").unlink()
    text = exported_file_section(folder, folder)
    assert "fresh process" not in text and "formats" not in text and "| " not in text
    assert exported_file_section(folder / "none", folder) == ""


def test_another_number_of_the_export_makes_the_root_report_stale(folder: Path) -> None:
    results = folder.parent
    out = results.parent / "REPORT.md"
    write_root_report(results, out)
    assert "## The exported file" in out.read_text(encoding="utf-8") and not is_root_stale(results, out)
    write(folder, "cold_start.csv", COLD_START_COLUMNS, {"processes": 15, "total_s": 0.169})
    assert is_root_stale(results, out)
