import csv
import math
from pathlib import Path

import numpy as np
import pytest

from decant.errors import UserError
from decant.evaluation.markdown import link, markdown_image, markdown_table
from decant.evaluation.tables import (
    cell,
    joined,
    magnitude,
    number,
    points,
    read_results_table,
    short,
    significant,
    with_interval,
    write_results_table,
)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("accuracy", 0.94117647, "0.9412"),
        ("accuracy", np.float32(1.0), "1.0000"),
        ("accuracy_difference", -0.00001, "0.0000"),
        ("nll", 12.5, "12.5000"),
        ("mcnemar_p", 1e-9, "0.0000"),
        ("p50_ms", 3.14159, "3.14"),
        ("p50_ms", 0.012345, "0.0123"),
        ("p99_ms", 1234.5, "1230"),
        ("p99_ms", 9.999, "10.0"),
        ("images_per_second", 123456.0, "123000"),
        ("cold_start_s", 0.0, "0"),
        ("file_mb", 18.84, "18.8"),
        ("gmacs", 0.0000123, "0.0000123"),
        ("n", 600, "600"),
        ("n", np.int64(7), "7"),
        ("passed", True, "true"),
        ("passed", np.bool_(False), "false"),
        ("model", "a,b", "a,b"),
        ("recall", None, ""),
        ("recall", float("nan"), ""),
        ("nll", float("inf"), "inf"),
    ],
)
def test_a_cell_is_plain_decimal_with_the_digits_of_its_column(column: str, value: object, text: str) -> None:
    assert cell(column, value) == text


@pytest.mark.parametrize("exponent", range(-6, 7))
def test_significant_digits_are_within_half_a_unit_of_the_third_digit(exponent: int) -> None:
    for value in np.random.default_rng(exponent + 6).uniform(1, 10, 50) * 10.0**exponent:
        text = significant(value)
        assert "e" not in text
        assert abs(float(text) - value) <= 0.5001 * 10.0 ** (math.floor(math.log10(value)) - 2)


def test_a_table_reads_back_and_is_the_same_bytes_again(tmp_path: Path) -> None:
    rows = [{"model": 'a "b", c\nd', "accuracy": 0.5, "n": 3}, {"model": "é 车", "accuracy": None, "n": 0}]
    write_results_table(rows, tmp_path / "deep" / "one.csv")
    write_results_table(rows, tmp_path / "two.csv")
    assert (tmp_path / "deep" / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert read_results_table(tmp_path / "two.csv") == [
        {"model": 'a "b", c\nd', "accuracy": "0.5000", "n": "3"},
        {"model": "é 车", "accuracy": "", "n": "0"},
    ]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["two.csv"]


def test_given_columns_set_the_order_and_allow_an_empty_table(tmp_path: Path) -> None:
    write_results_table([{"b": 1, "a": 2}], tmp_path / "t.csv", ["a", "b"])
    assert (tmp_path / "t.csv").read_text() == "a,b\n2,1\n"
    write_results_table([], tmp_path / "t.csv", ["a", "b"])
    assert (tmp_path / "t.csv").read_text() == "a,b\n"


def test_rows_with_other_columns_are_refused_and_the_old_file_is_kept(tmp_path: Path) -> None:
    write_results_table([{"a": 1}], tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"row 1 .*\['b'\]"):
        write_results_table([{"a": 1}, {"a": 1, "b": 2}], tmp_path / "t.csv")
    with pytest.raises(ValueError, match="needs column names"):
        write_results_table([], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "a\n1\n"


@pytest.mark.parametrize("row", ["1", "1,2,3"])
def test_a_torn_table_is_an_error_that_names_the_file(tmp_path: Path, row: str) -> None:
    (tmp_path / "t.csv").write_text(f"a,b\n{row}\n")
    with pytest.raises(UserError, match=r"t\.csv"):
        read_results_table(tmp_path / "t.csv")


def test_a_missing_table_is_empty(tmp_path: Path) -> None:
    assert read_results_table(tmp_path / "none.csv") == []


def test_short_rounds_the_digits_of_the_cell_with_halves_away_from_zero() -> None:
    assert short("0.9415") == "0.942"  # as a binary float 0.9415 is below the half
    assert short("-0.0005") == "-0.001"
    assert short("") == short(None) == "–"
    assert with_interval({"a": "0.9412", "a_low": "0.9120", "a_high": "0.9651"}, "a") == "0.941 (0.912–0.965)"
    assert with_interval({"a": "0.9412"}, "a") == "0.941"
    assert math.isnan(number("")) and number("1.5") == 1.5


def test_points_magnitudes_and_lists_as_text() -> None:
    assert points("0.9562", "0.9781") == "2.2" and points("0.9", "0.9") == "0.0"
    assert [joined(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert magnitude(8.44e-06) == "8.4e-06" and magnitude(0.0) == "0.0e+00"


def test_markdown_tables_escape_names() -> None:
    lines = markdown_table(["class", "n"], [["a|b\nc", "3"], ["<b> $x$ *", "4"], ["[s](r.md)", "5"]]).splitlines()
    assert lines[:3] == ["| class | n |", "| --- | --: |", r"| a\|b c | 3 |"]
    assert lines[3:] == [r"| &lt;b> \$x\$ \* | 4 |", r"| \[s\](r.md) | 5 |"]


def test_images_are_linked_relative_to_the_report_and_left_out_if_missing(tmp_path: Path) -> None:
    file = tmp_path / "results" / "my study" / "p.png"
    assert markdown_image(file, tmp_path, "caption") == ""
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert markdown_image(file, tmp_path, "caption") == "![caption](results/my%20study/p.png)"
    assert link(file, file.parent) == "p.png"


def test_cells_have_no_exponents_that_a_spreadsheet_could_misread(tmp_path: Path) -> None:
    write_results_table([{"p50_ms": 123456.789, "accuracy": 1e-7}], tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"p50_ms": "123000", "accuracy": "0.0000"}]
