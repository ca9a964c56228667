"""A whole search on `micro`: what trials train, what an interruption leaves, and what is written."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from decant.data.manifest import Manifest, read_manifest
from decant.errors import UserError
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import stage_result
from decant.study_reading import load_study
from decant.tuning import trial as trial_module
from decant.tuning import tune as module
from decant.tuning.tune import Limits, tune

TRIALS = 4
Row = dict[str, str]


@dataclass(frozen=True)
class Tuned:
    """A finished search with `TRIALS` trials."""

    experiment: Experiment
    lines: list[str]

    @property
    def folder(self) -> Path:
        return self.experiment.workspace.folder / "tuning" / "convnext"

    @property
    def best(self) -> Row:
        finished = [row for row in rows(self.experiment) if row["state"] == "finished"]
        return max(finished, key=lambda row: (float(row["val_accuracy"]), -float(row["val_nll"])))


def rows(experiment: Experiment) -> list[Row]:
    path = experiment.workspace.folder / "tuning" / "convnext" / "trials.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(table: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table]


def search(experiment: Experiment, space_file: Path, limits: Limits | None = None, name: str = "convnext") -> list[str]:
    return tune(experiment, name, space_file, limits or Limits(TRIALS), "the command")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, space_file: Path) -> Tuned:
    place = tmp_path_factory.mktemp("tuned")
    experiment = Experiment(load_study("micro"), place, place / "runs", place / "results", "disabled")
    return Tuned(experiment, search(experiment, space_file))


@pytest.fixture
def other(tuned: Tuned) -> Callable[..., Experiment]:
    """A function that gives the same study under another name: its own search, with the same stages in the store."""

    def named(name: str, **changes: Any) -> Experiment:
        return replace(tuned.experiment, study=tuned.experiment.study.model_copy(update={"name": name, **changes}))

    return named


def test_the_first_trial_is_the_recipe_and_trains_the_network_that_the_study_trains(
    tuned: Tuned, other: Callable[..., Experiment]
) -> None:
    first = rows(tuned.experiment)[0]
    recipe = tuned.experiment.study.teachers["convnext"]
    assert float(first["learning_rate"]) == recipe.learning_rate and int(first["batch_size"]) == recipe.batch_size
    whole = other("whole", teachers={"convnext": recipe.model_copy(update={"folds": 0})})
    with (stage_result(whole, "teachers/convnext").folder / "history.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert (first["val_accuracy"], first["val_nll"]) == (last["val_accuracy"], last["val_nll"])


def test_a_study_reads_the_written_recipe_as_the_settings_of_the_best_trial(tuned: Tuned, tmp_path: Path) -> None:
    recipe = tuned.folder / "convnext_tuned.yaml"
    study = {"extends": "micro", "name": "better", "teachers": {"convnext": {"recipe": str(recipe)}}}
    (tmp_path / "better.yaml").write_text(yaml.safe_dump(study))
    teacher = load_study(str(tmp_path / "better.yaml")).teachers["convnext"]
    assert teacher.learning_rate == float(tuned.best["learning_rate"])
    assert teacher.batch_size == int(tuned.best["batch_size"])
    assert teacher.views.mix == float(tuned.best["views.mix"])
    tried = {"recipe", "learning_rate", "batch_size", "views"}
    assert teacher.model_dump(exclude=tried) == tuned.experiment.study.teachers["convnext"].model_dump(exclude=tried)


def test_the_recipes_header_says_that_its_value_is_the_best_of_many(tuned: Tuned) -> None:
    text = (tuned.folder / "convnext_tuned.yaml").read_text(encoding="utf-8")
    comment = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    finished = [row for row in rows(tuned.experiment) if row["state"] == "finished"]
    for said in (f"{len(finished)} finished", f"{float(tuned.best['val_accuracy']):.4f}", "maximum", "optimistic",
                 "16 | 8", "the command"):  # fmt: skip
        assert said in comment


def test_the_end_names_the_best_trial_and_its_recipe(tuned: Tuned) -> None:
    said = "\n".join(tuned.lines)
    assert f"trial {tuned.best['trial']}" in said and str(tuned.folder / "convnext_tuned.yaml") in said


def test_finished_trials_are_not_repeated(tuned: Tuned, space_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(tuned.experiment)
    monkeypatch.setattr(module, "train_trial", None)
    search(tuned.experiment, space_file)
    assert rows(tuned.experiment) == before


def test_an_interrupted_search_ends_like_an_undisturbed_one(
    tuned: Tuned, other: Callable[..., Experiment], space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is interrupted after the first epoch of trial 1, whose training then continues with the second."""
    again = other("again")

    def interrupted(trial: Any, epoch: int, limits: Limits) -> list[Any]:
        if trial.number == 1:
            raise KeyboardInterrupt
        return []

    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(again, space_file)
    epochs: list[int] = []
    judged = module.stop_of
    monkeypatch.setattr(
        module, "stop_of", lambda trial, epoch, limits: (epochs.append(epoch), judged(trial, epoch, limits))[1]
    )
    search(again, space_file)
    assert without_seconds(rows(again)) == without_seconds(rows(tuned.experiment))
    assert len(epochs) == TRIALS - 2  # trials 2 and 3 after their first epoch; trial 1 had only its last to do


class OverAfterAnEpoch(Limits):
    """A time limit that ends in the first epoch of the first trial."""

    asked = 0

    @property
    def is_over(self) -> bool:
        OverAfterAnEpoch.asked += 1
        return OverAfterAnEpoch.asked > 1


def test_the_time_limit_ends_a_trial_after_its_epoch_and_the_next_call_continues_it(
    tuned: Tuned, other: Callable[..., Experiment], space_file: Path
) -> None:
    late = other("late")
    lines = search(late, space_file, OverAfterAnEpoch())
    (row,) = rows(late)
    assert (row["state"], row["epochs"]) == ("unfinished", "1") and "none is finished" in lines[0]
    search(late, space_file, Limits(1))
    assert without_seconds(rows(late)) == without_seconds(rows(tuned.experiment)[:1])


def test_after_the_time_limit_no_trial_starts(tuned: Tuned, space_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train_trial", None)
    search(tuned.experiment, space_file, Limits(None, deadline=0.0))
    assert len(rows(tuned.experiment)) == TRIALS


def test_another_recipe_is_another_search(tuned: Tuned, other: Callable[..., Experiment]) -> None:
    recipe = tuned.experiment.study.teachers["convnext"]
    longer = other("micro", teachers={"convnext": recipe.model_copy(update={"epochs": 3})})
    more_folds = other("micro", teachers={"convnext": recipe.model_copy(update={"folds": 3})})
    marks = [trial_module.recipe_mark(one, "convnext") for one in (tuned.experiment, longer, more_folds)]
    assert marks[0] != marks[1] and marks[0] == marks[2]  # a trial trains one model, whatever the folds


def failing(error: Exception, number: int) -> Callable[..., dict[str, float]]:
    """Stands for `train_trial`; the trial with this number fails."""

    def train(experiment: Any, name: str, teacher: Any, folder: Path, after_epoch: Any, job: str) -> dict[str, float]:
        if job == f"trial{number}":
            raise error
        return {"val_accuracy": 0.5, "val_nll": 1.0}

    return train


def test_a_trial_that_cannot_be_trained_is_pruned_with_its_reason(
    other: Callable[..., Experiment], space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = other("failed")
    monkeypatch.setattr(module, "train_trial", failing(UserError("the loss is nan"), 1))
    search(failed, space_file, Limits(3))
    assert [row["state"] for row in rows(failed)] == ["finished", "pruned", "finished"]
    assert rows(failed)[1]["reason"] == "the loss is nan"


def test_a_trial_below_the_median_of_four_others_is_pruned_after_its_first_epoch(
    other: Callable[..., Experiment], space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(
        experiment: Any, name: str, teacher: Any, folder: Path, after_epoch: Any, job: str
    ) -> dict[str, float] | None:
        value = 0.3 if job.endswith("trial4") else 0.6
        folder.mkdir(parents=True)
        (folder / "resume.safetensors").touch()
        try:
            for epoch in (1, 2):
                after_epoch({"epoch": epoch, "val_accuracy": value}, 2)
        except trial_module.Stopped:
            return None
        return {"val_accuracy": value, "val_nll": 1.0}

    pruned = other("pruned")
    monkeypatch.setattr(module, "train_trial", train)
    search(pruned, space_file, Limits(6))
    table = rows(pruned)
    assert [row["state"] for row in table] == ["finished"] * 4 + ["pruned", "finished"]
    assert (table[4]["epochs"], table[4]["val_accuracy"]) == ("1", "0.3") and "median" in table[4]["reason"]
    left = [path.parent.name for path in pruned.workspace.folder.rglob("resume.safetensors")]
    assert left == []  # nobody continues a trial that has ended


def test_after_the_last_epoch_that_minutes_leave_no_trial_is_pruned(
    other: Callable[..., Experiment], space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(
        experiment: Any, name: str, teacher: Any, folder: Path, after_epoch: Any, job: str
    ) -> dict[str, float] | None:
        after_epoch({"epoch": 1, "val_accuracy": 0.5}, 1)
        return {"val_accuracy": 0.5, "val_nll": 1.0}

    limited = other("limited")
    assert limited.study.teachers["convnext"].epochs > 1
    monkeypatch.setattr(module, "train_trial", train)
    monkeypatch.setattr(module, "stop_of", lambda *rest: pytest.fail("asked whether to stop"))
    search(limited, space_file, Limits(2))
    assert [row["state"] for row in rows(limited)] == ["finished", "finished"]


def test_a_recipe_that_cannot_be_trained_ends_the_search(
    other: Callable[..., Experiment], space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = other("broken")
    monkeypatch.setattr(module, "train_trial", failing(UserError("no weights for it"), 0))
    with pytest.raises(UserError, match="no weights for it"):
        search(broken, space_file)


def test_a_probe_is_searched_too(other: Callable[..., Experiment], tmp_path: Path) -> None:
    probed = other("probed")
    (tmp_path / "probe.yaml").write_text("crop_ratio: {choices: [0.8]}")
    tune(probed, "probe", tmp_path / "probe.yaml", Limits(1), "the command")
    assert (probed.workspace.folder / "tuning" / "probe" / "probe_tuned.yaml").is_file()
    assert list(probed.workspace.folder.rglob("features")) == []


def test_an_unknown_teacher_names_the_nearest(tuned: Tuned, space_file: Path) -> None:
    with pytest.raises(UserError, match="did you mean convnext"):
        search(tuned.experiment, space_file, name="convnet")


def test_a_study_without_val_cannot_be_searched(tuned: Tuned, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_val(folder: Path) -> Manifest:
        manifest = read_manifest(folder)
        return Manifest(manifest.rows[manifest.rows["split"] != "val"], manifest.classes)

    monkeypatch.setattr(trial_module, "read_manifest", without_val)
    with pytest.raises(UserError, match="no labelled image in val"):
        trial_module.val_images(tuned.experiment)
