"""benchmarks/distillation.py on the study micro, in a place of its own."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from decant.benchmarking import referee
from decant.benchmarking.referee import ALONE, STUDENT, Referee, arms_of
from decant.errors import UserError
from decant.evaluation.referee import (
    COMPARISON_COLUMNS,
    DISTIL,
    DO_NOT,
    METRIC_COLUMNS,
    UNKNOWN,
    Difference,
    level_of_looks,
    paired_difference,
    verdict,
)
from decant.evaluation.tables import read_results_table
from decant.study_reading import load_study

Script = Callable[[str], ModuleType]
SMALL = ["--study", "micro", "--wandb", "disabled", "--set", "data.toy.images=150", "--set", "student.epochs=2"]


def test_arms_are_trained_over_seeds_and_compared(script_at: Script, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "tables"
    words = [*SMALL, "--runs", str(tmp_path / "runs"), "--out", str(out), "--seeds", "2", "--trials", "2"]
    script = script_at("benchmarks/distillation.py")
    script.main([*words, "--arms", "frozen"])
    rows, compared = (read_results_table(out / f"{name}.csv") for name in ("metrics", "comparisons"))
    assert tuple(rows[0]) == METRIC_COLUMNS and tuple(compared[0]) == COMPARISON_COLUMNS
    arms = ["student", "student_alone", "frozen"]
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, seed) for seed in "01" for arm in arms]
    of_both = {row["nll"] for row in rows if row["arm"] != "frozen"}
    assert len(of_both) == 4, "two trainings gave the same network"
    assert len({row["steps"] for row in rows}) == 1
    assert [(row["other"], row["primary"]) for row in compared] == [("student_alone", "true"), ("frozen", "false")]
    assert compared[0]["verdict"] == UNKNOWN and float(compared[0]["teacher_minutes"]) > 0.001
    by_hand = [
        sum(float(row["accuracy"]) for row in rows if row["arm"] == arm) / 2 for arm in ("student", "student_alone")
    ]
    assert float(compared[0]["accuracy_difference"]) == pytest.approx(by_hand[0] - by_hand[1], abs=2e-4)
    assert f"verdict after 2 seeds: {UNKNOWN}" in capsys.readouterr().out
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "store").rglob("finished.json")}
    script.main([*words, "--setting", "again"])
    assert {path: path.stat().st_mtime_ns for path in marks} == marks, "a finished training was trained again"
    again = read_results_table(out / "metrics.csv")
    assert again[: len(rows)] == rows and {row["setting"] for row in again} == {"full", "again"}
    further = {"self_distillation", "online", "student_in_sample"}  # label_smoothing equals the twin, which kept 0.1
    assert {row["arm"] for row in again} == {*arms, *further}


def test_an_unknown_arm_is_a_users_mistake(script_at: Script, tmp_path: Path) -> None:
    words = [*SMALL, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path), "--arms", "frosen"]
    with pytest.raises(UserError, match="no arm 'frosen'; did you mean frozen"):
        script_at("benchmarks/distillation.py").main(words)


def test_an_arm_is_left_out_where_it_would_be_another_one() -> None:
    plain = load_study("micro", ["teachers.convnext.folds=0"])
    assert not {"student_in_sample", "student_unlabelled"} & set(arms_of(plain, 0))
    folded = arms_of(load_study("micro", ["teachers.convnext.folds=3"]), 0)
    assert "teachers.convnext.folds=0" in folded["student_in_sample"].overrides
    few = arms_of(plain, 7)
    assert "student.unlabelled=true" in few["student_unlabelled"].overrides
    assert all("student.unlabelled=false" in few[name].overrides for name in ("student", "online", "frozen"))


def test_every_arm_is_a_study_and_no_two_are_the_same() -> None:
    shown, folded = {}, ["teachers.convnext.folds=3", "student.label_smoothing=0"]
    for name, arm in arms_of(load_study("micro", folded), 5).items():
        shown[name] = arm.stage, load_study("micro", [*folded, *arm.overrides]).model_dump_json()
    assert len(set(shown.values())) == len(shown)


def test_a_student_teaches_itself_with_its_own_recipe() -> None:
    study = load_study("micro", ["student.views.flip=0.2", "student.hard_weight=0.3"])
    alone = load_study("micro", arms_of(study, 0)["self_distillation"].overrides)
    (teacher,) = alone.teachers.values()
    assert all(getattr(teacher, key) == getattr(study.student, key) for key in ("architecture", "epochs", "views"))


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Referee]:
    """A function that makes a referee of student and twin with so many seeds at most, which trains nothing."""
    study = load_study("micro")
    monkeypatch.setattr(referee, "with_same_cache", lambda make: make)
    monkeypatch.setattr(referee, "require_same_inputs", lambda *given: None)
    monkeypatch.setattr(Referee, "row", lambda self, name, seed: {"arm": name, "seed": seed})
    both = {name: arm for name, arm in arms_of(study, 0).items() if name in (STUDENT, ALONE)}
    return lambda seeds: Referee(lambda words: SimpleNamespace(study=study), both, "full", 1, seeds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("intervals", "trained", "expected"),
    [
        ({3: (-0.01, 0.02), 4: (0.001, 0.02)}, 4, DISTIL),
        ({3: (-0.02, -0.001)}, 3, DO_NOT),
        ({3: (-0.002, 0.002)}, 3, DO_NOT),
        ({3: (-0.01, 0.02), 4: (-0.01, 0.01), 5: (-0.01, 0.01)}, 5, UNKNOWN),
    ],
)
def test_no_further_seed_is_trained_once_the_verdict_is_known(
    untrained: Callable[[int], Referee],
    monkeypatch: pytest.MonkeyPatch,
    intervals: dict[int, tuple[float, float]],
    trained: int,
    expected: str,
) -> None:
    def difference(self: Referee, name: str, other: str, seeds: int) -> Difference:
        low, high = intervals.get(seeds, (-1.0, 1.0))
        return Difference((low + high) / 2, low, high, np.zeros(seeds))

    monkeypatch.setattr(Referee, "difference", difference)
    compared = untrained(5)
    rows = list(compared.rows())
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, s) for s in range(trained) for arm in (STUDENT, ALONE)]
    assert compared.verdict(trained) == expected


def test_images_that_depend_on_one_another_and_every_look_widen_the_interval(
    untrained: Callable[[int], Referee], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four crops of each of 50 vehicles, which a model predicts alike; the student is right about ten vehicles more."""
    rows = pd.DataFrame({"id": [f"{n:03d}" for n in range(200)], "group": [f"g{n // 4}" for n in range(200)]})
    manifest = SimpleNamespace(of_split=lambda split: rows, targets=lambda rows: np.ones(len(rows), dtype=int))
    right = {STUDENT: np.arange(200) < 180, ALONE: np.arange(200) < 140}

    def predictions(folder: str, split: str) -> SimpleNamespace:
        members = {"identity": np.eye(2)[right[folder.removeprefix("predictions/")].astype(int)]}
        return SimpleNamespace(aligned=lambda ids: SimpleNamespace(members=members))

    monkeypatch.setattr(referee, "stage_result", lambda experiment, name: SimpleNamespace(folder=name))
    monkeypatch.setattr(referee, "read_manifest", lambda folder: manifest)
    monkeypatch.setattr(referee, "dependent_groups", lambda rows: rows["group"].to_numpy())
    monkeypatch.setattr(referee, "read_predictions", predictions)
    compared = untrained(6)
    compared.chosen = {STUDENT: [], ALONE: []}
    found = compared.difference(STUDENT, ALONE, 3)
    correct, other = (np.stack([right[name]] * 3) for name in (STUDENT, ALONE))
    expected = paired_difference(correct, other, np.arange(200) // 4, level_of_looks(6))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high)) and verdict(found) == DISTIL
    too_narrow = paired_difference(correct, other, np.arange(200))
    assert found.high - found.low > 2 * (too_narrow.high - too_narrow.low)
