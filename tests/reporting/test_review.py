"""The review of a study: its page loads nothing and its numbers are those of the tables; its report has the panels."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from decant.reporting.results_files import ResultsFiles, read_results_files
from decant.reporting.review import Section, Table, review_sections
from decant.reporting.review_page import review_page
from decant.reporting.review_report import review_report


@pytest.fixture(scope="module")
def results(repository: Path) -> ResultsFiles:
    return read_results_files(repository / "results" / "traffic_vehicles")


def rows(results: ResultsFiles, table: str) -> list[dict[str, str]]:
    with (results.folder / "benchmarks" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def section(results: ResultsFiles, title: str) -> Section:
    (found,) = [one for one in review_sections(results) if one.title == title]
    return found


def test_teachers_ensemble_student_time_and_classes_have_a_section_each(results: ResultsFiles) -> None:
    titles = [one.title for one in review_sections(results)]
    assert titles == ["Teachers", "Ensemble", "Student and its twin", "Accuracy and time", "Classes"]


def test_every_teacher_is_compared_by_its_row_of_the_table(results: ResultsFiles) -> None:
    expected = [row for row in rows(results, "precision/metrics") if (row["kind"], row["split"]) == ("teacher", "test")]
    (table,) = section(results, "Teachers").tables
    assert [cells[0] for cells in table.rows] == [row["model"] for row in expected]
    for cells, row in zip(table.rows, expected, strict=True):
        accuracy, low, high = (float(number) for number in re.findall(r"[\d.]+", cells[1]))
        assert accuracy == pytest.approx(float(row["accuracy"]), abs=6e-4)
        assert low == pytest.approx(float(row["accuracy_low"]), abs=6e-4)
        assert high == pytest.approx(float(row["accuracy_high"]), abs=6e-4)


def test_the_learning_curves_are_those_of_the_histories(results: ResultsFiles) -> None:
    drawn = {curve.name: curve.points for curve in section(results, "Teachers").curves}
    histories = sorted((results.folder / "teachers").glob("*.csv"))
    assert set(drawn) == {path.stem for path in histories}
    with histories[0].open(encoding="utf-8") as file:
        expected = [(float(row["epoch"]), float(row["val_accuracy"])) for row in csv.DictReader(file)]
    assert drawn[histories[0].stem] == expected


def test_the_student_stands_beside_its_twin(results: ResultsFiles) -> None:
    scores, *_ = section(results, "Student and its twin").tables
    assert {"student", "student_alone", "student_onnx"} <= {row[0] for row in scores.rows}


def test_a_model_that_another_one_beats_in_both_is_not_on_the_front(results: ResultsFiles) -> None:
    trade_off = section(results, "Accuracy and time")
    on_front = {row[0] for row in trade_off.tables[0].rows if row[-1] == "yes"}
    places = trade_off.points
    beaten = {
        name
        for name, (time, accuracy) in places.items()
        if any(other_time < time and other > accuracy for other_time, other in places.values())
    }
    assert on_front and not on_front & beaten


class Page(HTMLParser):
    """Collects the addresses that a page loads, its texts and how deep its open tags are at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.cells = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.cells += tag == "td"
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_loads_nothing_from_elsewhere_and_contains_tables_and_curves(results: ResultsFiles) -> None:
    text = review_page("Review", "Scores", review_sections(results), [("Send them:", "wandb sync runs/a/wandb")])
    page = Page(text)
    assert all(address.startswith("#") for address in page.addresses)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert text.count("<svg") == 2 and page.cells > 20
    assert "wandb sync runs/a/wandb" in page.texts


def test_a_name_cannot_become_markup() -> None:
    hostile = "<script>alert(1)</script>"
    tables = [Table(["model", hostile], [[hostile, "1"]])]
    text = review_page(hostile, hostile, [Section(hostile, [hostile], tables)], [(hostile, hostile)])
    assert "<script" not in text and hostile in Page(text).texts


def test_the_same_results_give_the_same_page(results: ResultsFiles) -> None:
    one, two = (review_page("Review", "Scores", review_sections(results), []) for _ in range(2))
    assert one == two


def test_results_without_scores_give_no_section(tmp_path: Path) -> None:
    assert review_sections(read_results_files(tmp_path)) == []


@pytest.fixture(scope="module")
def report(results: ResultsFiles) -> Any:
    """Built without a login; saving it needs one."""
    pytest.importorskip("wandb_workspaces.reports.v2")
    return review_report(results, "decant-traffic_vehicles", "Review", "Scores", "2026-01-01", entity="me")


def test_the_report_has_the_sections_with_their_tables(results: ResultsFiles, report: Any) -> None:
    from wandb_workspaces.reports import v2

    assert report.project == "decant-traffic_vehicles" and report.title == "Review"
    headings = [block.text for block in report.blocks if isinstance(block, v2.H2)]
    assert headings == [one.title for one in review_sections(results)]
    texts = [block.text for block in report.blocks if isinstance(block, v2.MarkdownBlock)]
    for one, text in zip(review_sections(results), texts, strict=True):
        for table in one.tables:
            assert text.count("\n| ") >= len(table.rows)
    scored = {(row["model"], row["split"]): row for row in rows(results, "precision/metrics")}
    assert f"{float(scored['ensemble', 'test']['accuracy']):.3f}" in texts[1]


def test_the_report_shows_curves_scores_and_time_of_the_runs(report: Any) -> None:
    from wandb_workspaces.reports import v2

    grids = [block for block in report.blocks if isinstance(block, v2.PanelGrid)]
    shown = {grid.runsets[0].filters: [type(panel).__name__ for panel in grid.panels] for grid in grids}
    assert shown == {
        "Metric('JobType') == 'teachers'": ["LinePlot", "LinePlot"],
        "Metric('JobType') == 'benchmarks/precision'": ["BarPlot"],
        "Metric('JobType') == 'student'": ["LinePlot", "LinePlot"],
        "Metric('JobType') == 'student_alone'": ["LinePlot", "LinePlot"],
        "Config('settings.review') == '2026-01-01'": ["ScatterPlot"],
    }
    assert {grid.runsets[0].project for grid in grids} == {"decant-traffic_vehicles"}
    assert [panel.y for panel in grids[0].panels] == [["val_accuracy"], ["loss"]]
    (scatter,) = grids[-1].panels
    assert (scatter.x.name, scatter.y.name) == ("p50_ms", "accuracy")
