"""The report's section on whether distillation paid."""

from pathlib import Path

import pytest

from decant.benchmarking.referee import arms_of
from decant.evaluation.referee import COMPARISON_COLUMNS, DISTIL, DO_NOT, METRIC_COLUMNS, UNKNOWN
from decant.evaluation.tables import write_results_table
from decant.reporting.referee import ARMS, MEANING
from decant.reporting.report import appendix_text
from decant.study_reading import load_study

ACCURACIES = {"student": [0.91, 0.93, 0.92], "student_alone": [0.90, 0.90, 0.90]}


def arm_row(arm: str, seed: int, accuracy: float, setting: str) -> dict[str, object]:
    values = dict.fromkeys(METRIC_COLUMNS, 0.5)
    known = {"setting": setting, "arm": arm, "student": "lite0", "init": "none", "seed": seed, "steps": 300, "views": 8}
    return values | known | {"accuracy": accuracy, "wall_s": 90.0}


def write_arms(study: Path, verdict: str, settings: tuple[str, ...] = ("full",)) -> None:
    rows, compared = [], []
    for setting in settings:
        rows += [arm_row(arm, seed, value, setting) for arm, of in ACCURACIES.items() for seed, value in enumerate(of)]
        row = dict.fromkeys(COMPARISON_COLUMNS, 0.0)
        row |= {"setting": setting, "arm": "student", "other": "student_alone", "primary": True, "seeds": 3}
        row |= {"accuracy_difference": 0.02, "accuracy_difference_low": 0.004, "accuracy_difference_high": 0.031}
        compared.append(row | {"teacher_minutes": 12.34, "verdict": verdict})
    folder = study / "benchmarks" / "distillation"
    write_results_table(rows, folder / "metrics.csv", METRIC_COLUMNS)
    write_results_table(compared, folder / "comparisons.csv", COMPARISON_COLUMNS)


def section_text(study: Path) -> str:
    return appendix_text(study, study).split("## Does distillation pay?")[1].split("\n## ")[0]


def test_without_the_tables_there_is_no_section(study: Path) -> None:
    assert "Does distillation pay?" not in appendix_text(study, study)


@pytest.mark.parametrize("verdict", [DISTIL, DO_NOT, UNKNOWN])
def test_the_verdict_is_in_words_with_its_interval(study: Path, verdict: str) -> None:
    write_arms(study, verdict)
    text = section_text(study)
    assert "Over 3 seeds of lite0" in text and "+0.020 (+0.004 to +0.031)" in text
    assert MEANING[verdict] in text and "12.3 minutes" in text


def test_arms_have_the_mean_over_their_seeds(study: Path) -> None:
    write_arms(study, DISTIL)
    lines = [line for line in section_text(study).splitlines() if line.startswith("| student")]
    assert [line.split("|")[1].strip() for line in lines] == list(ACCURACIES)
    assert [line.split("|")[6].strip() for line in lines] == ["0.920", "0.900"]
    assert [line.split("|")[8].strip() for line in lines] == ["1.5", "1.5"]


def test_several_settings_are_named(study: Path) -> None:
    write_arms(study, UNKNOWN, ("full", "labels_10pct"))
    text = section_text(study)
    assert text.index("Setting full: over 3 seeds") < text.index("Setting labels_10pct: over 3 seeds")


def test_every_arm_is_explained() -> None:
    assert set(arms_of(load_study("micro", ["teachers.convnext.folds=3"]), 5)) == set(ARMS)
