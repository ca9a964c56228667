"""The section on the app in the root report, from invented tables."""

from pathlib import Path

from decant.benchmarking.document_time import DOCUMENT_COLUMNS
from decant.benchmarking.hostile_run import HOSTILE_COLUMNS
from decant.benchmarking.serving_load import LOAD_COLUMNS
from decant.evaluation.tables import write_results_table
from decant.reporting.serving import serving_section


def test_load_and_hostile_requests_are_told_with_a_link_each(tmp_path: Path) -> None:
    load = dict.fromkeys(LOAD_COLUMNS, 1) | {"requests_per_second": 290, "to_bare": 1.447, "p99_ms": 173, "errors": 4}
    kinds = [dict.fromkeys(HOSTILE_COLUMNS, 3) | {"kind": "bomb"}, dict.fromkeys(HOSTILE_COLUMNS, 9) | {"kind": "all"}]
    write_results_table([load], tmp_path / "serving" / "load.csv", LOAD_COLUMNS)
    write_results_table(kinds, tmp_path / "serving" / "hostile.csv", HOSTILE_COLUMNS)
    first, second = serving_section(tmp_path / "serving", tmp_path).splitlines()[2:]
    assert "predicts 290 images per second" in first and "1.45 times as many" in first and "4 errors" in first
    assert "[serving/load.csv](serving/load.csv)" in first and "[serving/hostile.csv](serving/hostile.csv)" in second
    assert second.startswith("- Of 9 hostile requests the app refuses 9 with a reason")


def test_the_cost_of_a_map_is_told_where_it_was_measured(tmp_path: Path) -> None:
    load = dict.fromkeys(LOAD_COLUMNS, 1) | {"map_to_answer": 1.184}
    write_results_table([load], tmp_path / "new" / "load.csv", LOAD_COLUMNS)
    older = {name: value for name, value in load.items() if "map" not in name}
    write_results_table([older], tmp_path / "old" / "load.csv", list(older))
    assert "an activation map takes 1.18 times as long as a prediction:" in serving_section(tmp_path / "new", tmp_path)
    assert "map" not in serving_section(tmp_path / "old", tmp_path)


def test_the_time_of_documents_is_that_of_the_fastest_and_of_the_slowest_study(tmp_path: Path) -> None:
    rows = [dict.fromkeys(DOCUMENT_COLUMNS, 1) | {"wall_s": seconds} for seconds in (9.5, 11.2, 4.5)]
    write_results_table(rows, tmp_path / "documents.csv", DOCUMENT_COLUMNS)
    told = serving_section(tmp_path, tmp_path)
    assert "takes 4.50 to 11.2 s (3 studies): [documents.csv](documents.csv)." in told


def test_without_tables_there_is_no_section(tmp_path: Path) -> None:
    assert serving_section(tmp_path, tmp_path) == ""
