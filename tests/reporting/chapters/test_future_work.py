"""Future work is what the tables show to be weak."""

import json
from pathlib import Path

from decant.evaluation.tables import write_results_table
from decant.reporting.chapters.future_work import confusions
from decant.reporting.report import report_text
from decant.reporting.results_files import read_results_files


def future_of(study: Path) -> str:
    return report_text(study, study).split("## Future Work\n")[1]


def with_recalls(study: Path, recalls: dict[str, tuple[str, str]]) -> None:
    """Replace the recall and the number of images of classes."""
    rows = []
    for row in read_results_files(study).per_class:
        recall, images = recalls.get(row["class"], ("1.0000", "50"))
        rows.append(row | {"recall": recall, "n": images})
    write_results_table(rows, study / "benchmarks" / "precision" / "per_class.csv")


def test_the_classes_with_the_lowest_recall_are_named_if_they_have_enough_images(study: Path) -> None:
    with_recalls(study, {"van": ("0.4000", "30"), "car": ("0.6000", "25"), "tram": ("0.1000", "3")})
    assert "the lowest recall: van (0.400 of 30) and car (0.600 of 25)." in future_of(study)
    assert "1 class has fewer than 20 images" in future_of(study)


def test_nothing_is_said_of_weak_classes_where_there_are_none(study: Path) -> None:
    with_recalls(study, {})
    assert "lowest recall" not in future_of(study)


def test_confusions_are_ordered_by_how_often_they_happen() -> None:
    rows = [{"target": "a", "a": "9", "b": "2"}, {"target": "b", "a": "5", "b": "0"}]
    assert confusions(rows) == [(5, "b", "a"), (2, "a", "b")]


def test_labels_that_wait_for_a_person_are_counted(study: Path) -> None:
    assert "labels in doubt" not in future_of(study)
    counts = {"issue_actions": {"label": {"suggest": 8, "review": 3, "downweight": 4}}}
    (study / "clean" / "metrics.json").write_text(json.dumps(counts))
    assert "the 11 labels in doubt" in future_of(study)
