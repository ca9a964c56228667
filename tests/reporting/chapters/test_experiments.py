"""What was tried: each row with the verdict that its interval allows."""

import json
from pathlib import Path

import pytest

from decant.ensemble.comparison import POOLING_COLUMNS
from decant.evaluation.ablations import EFFECT_COLUMNS
from decant.evaluation.tables import write_results_table
from decant.reporting.report import report_text


def tried_in(study: Path) -> dict[str, str]:
    """What was tried -> its verdict."""
    section = report_text(study, study).split("## Training and Experimentation\n")[1].split("\n## ")[0]
    lines = section.partition("| tried |")[2].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {row[0]: row[-1] for row in rows if len(row) == 4}


@pytest.mark.parametrize(
    ("seeds", "low", "high", "verdict"),
    [
        (1, None, None, "one seed: not enough to tell"),
        (3, 0.01, 0.03, "better"),
        (3, -0.03, -0.01, "worse"),
        (3, -0.01, 0.03, "no difference shown"),
    ],
)
def test_a_change_of_a_teacher_is_judged_by_its_interval_over_seeds(
    study: Path, seeds: int, low: float | None, high: float | None, verdict: str
) -> None:
    row = dict.fromkeys(EFFECT_COLUMNS, 0.5) | {
        "study": "demo", "change": "no averaging", "seeds": seeds, "val_accuracy_difference": 0.01,
        "val_accuracy_difference_low": low, "val_accuracy_difference_high": high,
    }  # fmt: skip
    write_results_table([row, row | {"study": "another"}], study.parent / "training" / "effects.csv")
    assert tried_in(study) == {"no averaging": verdict}


def test_a_pool_that_was_not_chosen_is_worse_only_if_its_interval_is_above_zero(study: Path) -> None:
    row: dict[str, object] = dict.fromkeys(POOLING_COLUMNS, 0.5) | {"kind": "pool", "chosen": False}
    interval = {"val_nll_difference_low": -0.1, "val_nll_difference_high": 0.1}
    rows = [row | {"model": "equal"}, row | {"model": "convex"} | interval, row | {"model": "greedy", "chosen": True}]
    teachers = [row | {"model": name, "kind": "teacher"} for name in ("lite0", "lite2")]
    write_results_table([*teachers, *rows], study / "ensemble" / "pooling.csv")
    assert tried_in(study) == {"pooling equal": "worse", "pooling convex": "no difference shown"}
    write_results_table([teachers[0], *rows], study / "ensemble" / "pooling.csv")
    assert tried_in(study) == {}  # all ways of pooling a single teacher are the same


def test_an_int8_file_that_is_not_offered_is_given_with_the_reason(study: Path) -> None:
    int8 = {"offered": False, "why": "not faster", "val_accuracy": 0.81, "val_accuracy_fp32": 0.82}
    (study / "export" / "int8.json").write_text(json.dumps(int8))
    assert tried_in(study) == {"int8 file": "not offered"}
    assert "The int8 file is not offered: not faster." in report_text(study, study)
