"""The root report, and the README's table and figure."""

import json
import re
import shutil
from pathlib import Path

import pytest

from decant.evaluation.tables import difference, read_results_table, short, write_results_table
from decant.reporting.results_files import headline_rows, of_kind, read_results_files
from decant.reporting.root_report import (
    README_MARKS,
    readme_text,
    root_report_text,
    stale_root_reports,
    studies_table,
    write_root_report,
)


def test_the_root_report_has_one_row_per_study_with_results(study: Path) -> None:
    results = study.parent
    shutil.copytree(study, results / "another")
    (results / "unfinished").mkdir()
    out = results.parent / "REPORT.md"
    write_root_report(results, out)
    studies = out.read_text(encoding="utf-8").partition("## ")[0]
    rows = [line for line in studies.splitlines() if line.startswith("| [")]
    assert [row.split("]")[0] for row in rows] == ["| [another", "| [demo"]
    row = of_kind(read_results_files(study), "student_onnx", "test")
    assert row is not None
    assert "(results/demo/REPORT.md) | 960 | 7 | test |" in rows[1]
    assert f"{short(row['accuracy'])} ({short(row['accuracy_low'])}–" in rows[1]
    assert rows[1].endswith("| 128 | 3.20 | – | 13.6 |")
    assert not stale_root_reports(results, out)
    shutil.rmtree(results / "another")
    assert stale_root_reports(results, out) == [out]


def root_cells(results: Path) -> dict[str, str]:
    """Header -> cell in the row of the only study."""
    lines = [line for line in studies_table(results, results).splitlines() if line.startswith("| ")]
    header, _, row = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return dict(zip(header, row, strict=True))


def test_the_root_table_has_a_column_per_model_of_the_headline(study: Path) -> None:
    cells = root_cells(study.parent)
    results = read_results_files(study)
    assert [row["model"] for row in headline_rows(results, "test")] == [
        "lite2", "ensemble", "student_alone", "student_onnx",
    ]  # fmt: skip
    accuracy = {row["model"]: short(row["accuracy"]) for row in results.precision if row["split"] == "test"}
    for name, model in (
        ("best teacher", "lite2"),
        ("student alone", "student_alone"),
        ("ONNX file", "student_onnx"),
    ):
        assert cells[name].startswith(f"{accuracy[model]} (")


def test_the_root_report_says_what_pooling_and_distilling_gained(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "comparisons.csv"
    rows = read_results_table(table)
    interval = {"accuracy_difference_low": "0.0010", "accuracy_difference_high": "0.0300"}
    pooled = rows[0] | {"model": "ensemble", "other": "lite2", "accuracy_difference": "0.0155"} | interval
    write_results_table([*rows, pooled], table)
    text = root_report_text(study.parent, study.parent)
    (line,) = (line for line in text.splitlines() if line.startswith("| [") and line.endswith(" | student |"))
    distilled, behind = (
        next(row for row in rows if row["other"] == other) for other in ("student_alone", "ensemble")
    )  # student_onnx minus these
    assert line.split(" | ")[1:4] == [
        "+0.016 (+0.001 to +0.030)", *(difference(row, "accuracy_difference") for row in (distilled, behind)),
    ]  # fmt: skip
    better = int(float(distilled["accuracy_difference_low"]) > 0)
    assert "best teacher in 1 of 1 study" in text and f"labels alone, in {better} of 1 study" in text


def test_studies_without_comparisons_have_no_table_of_gains(study: Path) -> None:
    (study / "benchmarks" / "precision" / "comparisons.csv").unlink()
    assert "gained" not in root_report_text(study.parent, study.parent)


def test_a_rectangular_input_is_shown_as_height_and_width_and_the_note_explains_it(study: Path) -> None:
    table = study / "benchmarks" / "latency" / "metrics.csv"
    write_results_table([{**row, "input_px": "96x176"} for row in read_results_files(study).latency], table)
    assert root_cells(study.parent)["px"] == "96x176"
    assert "height x width" in root_report_text(study.parent, study.parent)


@pytest.mark.parametrize(("offered", "cell"), [(True, "1.10"), (False, "1.10 (not offered)")])
def test_the_int8_time_is_measured_under_the_conditions_of_the_fp32_time(study: Path, offered: bool, cell: str) -> None:
    table = study / "benchmarks" / "latency" / "metrics.csv"
    rows = list(read_results_files(study).latency)
    (quoted,) = (row for row in rows if row["model"] == "student_onnx" and row["batch_size"] == "1")
    int8 = quoted | {"model": "student_onnx_int8", "kind": "student_onnx_int8", "precision": "int8", "p50_ms": "1.10"}
    others = [{"graph": "bare"}, {"engine": "openvino"}, {"threads": "1"}, {"batch_size": "8"}]
    rows += [int8 | other | {"p50_ms": "0.5"} for other in others]
    write_results_table(rows, table)
    assert root_cells(study.parent)["int8 p50 ms"] == "–"
    write_results_table([*rows, int8], table)
    (study / "export" / "int8.json").write_text(json.dumps({"offered": offered}))
    assert root_cells(study.parent)["int8 p50 ms"] == cell


def test_the_readme_shows_the_figure_of_the_study_with_the_most_images(study: Path) -> None:
    results, readme = study.parent, study.parent.parent / "README.md"
    readme.write_text("".join(README_MARKS), encoding="utf-8")
    assert "![" not in readme_text(readme, results)
    shutil.copytree(study, results / "zebras")  # the last by name
    table = results / "zebras" / "data" / "classes.csv"
    table.write_text("split,class,images\ntrain,car,959\n", encoding="utf-8")
    for name in ("demo", "zebras"):
        (results / name / "benchmarks" / "latency" / "pareto.png").touch()
    assert re.findall(r"!\[(.*?)\]", readme_text(readme, results)) == ["demo"]
    table.write_text("split,class,images\ntrain,car,961\n", encoding="utf-8")
    assert re.findall(r"!\[(.*?)\]", readme_text(readme, results)) == ["zebras"]


def test_the_root_report_without_studies_has_no_table(tmp_path: Path) -> None:
    assert "No study" in root_report_text(tmp_path, tmp_path)
