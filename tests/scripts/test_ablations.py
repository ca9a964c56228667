"""benchmarks/ablations.py on the study micro, in a place of its own, and the files in research/ablations."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from decant.benchmarking.ablations import UNCHANGED, overrides, read_ablations
from decant.errors import UserError
from decant.evaluation.ablations import ABLATION_COLUMNS, EFFECT_COLUMNS
from decant.study_files import ROOT
from decant.study_reading import load_study

FILE = """
study: micro
teacher: {recipe: micro_convnext, epochs: 1}
changes:
  higher rate: {learning_rate: 0.02}
  stretched: {study.geometry.fit: stretch}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_change_is_trained_with_each_seed_and_compared(
    script_at: Callable[[str], ModuleType], file: Path, tmp_path: Path
) -> None:
    words = [str(file), "--seeds", "2", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path), "--wandb", "disabled"]
    script_at("benchmarks/ablations.py").main(words)
    rows, effects = rows_of(tmp_path / "ablations.csv"), rows_of(tmp_path / "effects.csv")
    assert tuple(rows[0]) == ABLATION_COLUMNS and tuple(effects[0]) == EFFECT_COLUMNS
    changes = [UNCHANGED, "higher rate", "stretched"]
    assert [(row["change"], row["seed"]) for row in rows] == [(change, seed) for seed in "01" for change in changes]
    assert [effect["change"] for effect in effects] == changes
    assert len({row["val_nll"] for row in rows}) == 6, "two trainings gave the same network"
    marks = sorted((tmp_path / "runs" / "store" / "teachers").rglob("finished.json"))
    before = [mark.stat().st_mtime_ns for mark in marks]
    script_at("benchmarks/ablations.py").main([*words, "--changes", "stretched"])
    assert [mark.stat().st_mtime_ns for mark in marks] == before, "a finished training was trained again"
    assert rows_of(tmp_path / "ablations.csv") == rows, "the rows of the other changes are kept"


def test_a_change_changes_its_keys_alone(file: Path) -> None:
    ablations = read_ablations(file)
    studies = {change: load_study("micro", overrides(ablations, change, 1)) for change in ablations.changes}
    plain, rate, stretched = (studies[change] for change in (UNCHANGED, "higher rate", "stretched"))
    assert rate.teachers["seed0"].learning_rate == 0.02
    assert (
        rate.teachers["seed0"].model_copy(update={"learning_rate": plain.teachers["seed0"].learning_rate})
        == (plain.teachers["seed0"])
    )
    assert rate.model_copy(update={"teachers": plain.teachers}) == plain
    assert stretched.geometry.fit == "stretch" and stretched.teachers == plain.teachers


@pytest.mark.parametrize("path", sorted((ROOT / "research" / "ablations").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_change_of_the_files_in_the_checkout_is_a_study(path: Path) -> None:
    ablations = read_ablations(path)
    studies = {change: load_study(ablations.study, overrides(ablations, change, 2)) for change in ablations.changes}
    shown = [study.model_dump_json() for study in studies.values()]
    assert len(set(shown)) == len(shown), "two changes are the same study"
    assert all(list(study.teachers) == ["seed0", "seed1"] for study in studies.values())


@pytest.mark.parametrize(
    "text, message",
    [
        (FILE.replace("changes:", "change:"), "unknown key change; did you mean changes"),
        ("study: micro\nteacher: {recipe: micro_convnext}", "changes is missing"),
        (FILE.replace("recipe: micro_convnext, ", ""), "teacher.recipe is missing"),
        (FILE.replace("higher rate:", "none:"), "the change none is always there"),
        ("study: micro\nteacher: [1]\nchanges: {a: {}}", "teacher must map keys to values"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(file: Path, text: str, message: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_ablations(file)


def test_an_unknown_change_is_refused(script_at: Callable[[str], ModuleType], file: Path) -> None:
    with pytest.raises(UserError, match="no change 'streched'; did you mean stretched"):
        script_at("benchmarks/ablations.py").main([str(file), "--changes", "streched"])


def test_another_study_than_the_files_is_refused(script_at: Callable[[str], ModuleType], file: Path) -> None:
    with pytest.raises(UserError, match="is micro; leave out --study"):
        script_at("benchmarks/ablations.py").main([str(file), "--study", "demo"])
