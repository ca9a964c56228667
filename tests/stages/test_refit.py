"""`final: refit`: what the models for the images to predict learn from, what they predict, and what stays as it was."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decant.data.pixels import PixelCache
from decant.data.predictions import Predictions, read_predictions, write_predictions
from decant.errors import UserError
from decant.models.checkpoint import load_checkpoint
from decant.stages import GRAPH, REFIT, publish
from decant.stages import teacher as teacher_stage
from decant.stages.soft_labels import open_store
from decant.stages.support import speed
from decant.stages.support.chain import Chain as Progress
from decant.stages.support.chain import require_images_to_predict
from decant.stages.support.experiment import Experiment
from decant.stages.support.plan import plan
from decant.stages.support.resolve import inputs_of, stage_result, stages_of
from decant.stages.support.training_data import TrainingData, read_training_data
from decant.stages.support.weights import read_weights
from decant.study_reading import load_study
from decant.workspace import StageResult

Chain = Any
REFITTED = ("refit_teachers/whole", "refit_student")


def data_of(chain: Chain, name: str) -> TrainingData:
    return read_training_data(inputs_of(chain.experiment, name), name)


def labelled(chain: Chain) -> set[str]:
    """Content keys of the labelled images of train, val and test that were not set aside."""
    return set(chain.manifest.of_split("train", "val", "test")["content"])


@pytest.mark.parametrize("ship", ["student", "better"])
def test_a_student_with_a_fitted_head_is_refitted(
    data_root: Path, study_file: Path, tmp_path_factory: pytest.TempPathFactory, ship: str
) -> None:
    """Its head takes the strength of regularisation that was chosen on val."""
    short = ["teachers.convnext.epochs=1", "soft_labels.views=1", "student.epochs=1", "final=refit"]
    study = load_study(str(study_file), [*short, "student.head=probe", f"export.ship={ship}"])
    experiment = Experiment(study, data_root, tmp_path_factory.mktemp("fitted") / "runs", wandb="disabled")
    assert len(load_checkpoint(stage_result(experiment, "refit_student").folder).classes) == 3


def test_no_choice_and_no_score_reads_a_refit() -> None:
    for stage in GRAPH:
        if not stage.name.startswith(REFIT):
            assert not [read for read in stage.reads if read.startswith(REFIT)]


@pytest.mark.parametrize("name", ["refit_ensemble", "refit_predictions/whole", "refit_predictions/student"])
def test_a_refit_predicts_the_images_to_predict_alone(refitted: Chain, name: str) -> None:
    folder = refitted.stages[name].folder
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["predict"]
    assert set(read_predictions(folder, "predict").ids) == set(refitted.manifest.of_split("predict")["id"])


@pytest.mark.parametrize("name", REFITTED)
def test_a_refit_has_no_scores_on_val(refitted: Chain, name: str) -> None:
    with (refitted.stages[name].folder / "history.csv").open() as file:
        columns = list(next(csv.reader(file)))
    assert "loss" in columns and not [column for column in columns if column.startswith("val_")]


def test_a_refitted_teacher_learns_every_labelled_image_and_no_other(refitted: Chain) -> None:
    contents = PixelCache(refitted.stages["refit_pixels"].folder).contents
    training = refitted.trainings["refit_teachers/whole"]
    assert {contents[row] for row in training.task.rows} == labelled(refitted)
    assert {contents[row] for row in training.shown} <= labelled(refitted)


def test_the_refitted_student_learns_soft_labels_of_val_and_test_too(refitted: Chain) -> None:
    contents = PixelCache(refitted.stages["refit_pixels"].folder).contents
    rows = refitted.trainings["refit_student"].task.rows
    unlabelled = set(refitted.manifest.of_split("unlabelled")["content"])
    assert {contents[row] for row in rows} == labelled(refitted) | unlabelled
    store = open_store(refitted.stages["refit_soft_labels/whole"].folder)
    assert store.contents() == contents
    assert store.header["teacher_digest"] == refitted.stages["refit_teachers/whole"].fingerprint


def test_the_models_of_the_tables_see_no_image_of_val_or_test(refitted: Chain) -> None:
    contents = PixelCache(refitted.stages["pixels"].folder).contents
    hidden = set(refitted.manifest.of_split("val", "test")["content"])
    for name in ("teachers/whole", "student"):
        assert not {contents[row] for row in refitted.trainings[name].shown} & hidden


@pytest.mark.parametrize("name", REFITTED)
def test_a_refit_has_the_recipe_of_the_chosen_model_and_another_seed(refitted: Chain, name: str) -> None:
    again, chosen = refitted.trainings[name], refitted.trainings[name.removeprefix(REFIT)]
    assert again.settings == chosen.settings
    assert not all(torch.equal(value, chosen.initial[key]) for key, value in again.initial.items())


def test_the_refits_cache_has_the_size_of_the_chosen_models(refitted: Chain) -> None:
    cached, chosen = (PixelCache(refitted.stages[name].folder) for name in ("refit_pixels", "pixels"))
    assert [level.shape[1:] for level in cached.levels] == [level.shape[1:] for level in chosen.levels]


def test_a_teacher_with_folds_is_not_refitted(refitted: Chain) -> None:
    assert not {"refit_teachers/convnext", "refit_predictions/convnext"} & set(refitted.stages)
    store = open_store(refitted.stages["refit_soft_labels/convnext"].folder)
    assert store.header["teacher_digest"] == refitted.stages["teachers/convnext"].fingerprint


def test_a_teacher_without_weight_is_not_refitted(refitted: Chain) -> None:
    study = refitted.experiment.study
    for family in ("refit_teachers", "refit_predictions", "refit_soft_labels"):
        assert stages_of(study, family, lambda: ["whole"]) == [f"{family}/whole"]
    assert stages_of(study, "refit_predictions", lambda: ["convnext"]) == ["predictions/convnext"]


def test_refitted_teachers_are_pooled_with_the_chosen_weights_and_temperatures(refitted: Chain) -> None:
    weights = read_weights(refitted.stages["ensemble"].folder)
    pooled = read_predictions(refitted.stages["refit_ensemble"].folder, "predict")
    expected = np.zeros_like(pooled.members["identity"], dtype=np.float64)
    for name, weight, temperature in zip(weights.names, weights.weights, weights.temperatures, strict=True):
        family = "predictions" if name == "convnext" else "refit_predictions"
        single = read_predictions(refitted.stages[f"{family}/{name}"].folder, "predict").aligned(pooled.ids)
        mean = np.mean([np.exp(member.astype(np.float64)) for member in single.members.values()], axis=0)
        sharpened = mean ** (1 / temperature)
        expected += weight * sharpened / sharpened.sum(axis=1, keepdims=True)
    expected = expected ** (1 / weights.temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(pooled.members["identity"]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("final", "folders"),
    [("refit", ["refit_ensemble", "refit_predictions/student"]), ("none", ["ensemble", "export/predictions"])],
)
def test_the_submissions_come_from_the_refit_if_the_study_asks_for_it(
    refitted: Chain, tmp_path: Path, final: str, folders: list[str]
) -> None:
    manifest, study = refitted.manifest, refitted.experiment.study
    experiment = replace(refitted.experiment, study=study.model_copy(update={"final": final}))
    ids = list(manifest.of_split("predict")["id"])
    for number, place in enumerate(("ensemble", "export/predictions", "refit_ensemble", "refit_predictions/student")):
        chosen = np.random.default_rng(number).integers(0, 3, len(ids))
        write_predictions(tmp_path / place, "predict", Predictions(ids, {"identity": np.eye(3)[chosen]}))
    names = ("ensemble", "export", "refit_ensemble", "refit_predictions/student")
    results = {name: StageResult(name, "", tmp_path / name) for name in names}
    publish.write_submissions(experiment, manifest, results, tmp_path)
    for file, folder in zip(("submission.csv", "submission_student.csv"), folders, strict=True):
        with (tmp_path / file).open(encoding="utf-8", newline="") as lines:
            written = {row["photo"]: row["body"] for row in csv.DictReader(lines)}
        expected = publish.submitted_labels(manifest, tmp_path / folder)
        assert written == {Path(path).stem: label for path, label in expected.items()}


@pytest.mark.parametrize("final", ["refit", "none"])
def test_the_stages_of_a_refit_are_published_with_it(refitted: Chain, final: str) -> None:
    study = refitted.experiment.study.model_copy(update={"final": final})
    names = publish.published_stages(replace(refitted.experiment, study=study))
    assert (set(publish.REFITTED) <= set(names)) == (final == "refit")


def test_a_study_that_adds_a_refit_keeps_every_chosen_model(refitted: Chain) -> None:
    study = refitted.experiment.study.model_copy(update={"final": "none"})
    without = replace(refitted.experiment, study=study)
    planned = {stage.name: stage.finished for stage in plan(without)}
    assert not [name for name in planned if name.startswith(REFIT)]
    for name in ("pixels", "teachers/whole", "ensemble", "soft_labels/whole", "student"):
        assert planned[name] and stage_result(without, name).fingerprint == refitted.stages[name].fingerprint


def test_the_plan_has_the_stages_of_the_refit(refitted: Chain) -> None:
    finished = {stage.name for stage in plan(refitted.experiment) if stage.finished}
    assert {name for name in finished if name.startswith(REFIT)} == {
        "refit_pixels", "refit_teachers/probe", "refit_teachers/whole", "refit_predictions/probe",
        "refit_predictions/whole", "refit_ensemble", "refit_soft_labels/convnext", "refit_soft_labels/probe",
        "refit_soft_labels/whole", "refit_student", "refit_predictions/student",
    }  # fmt: skip


def test_the_chain_calls_the_script_of_the_refit_only_if_the_study_asks_for_it(
    refitted: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "step_seconds", lambda *arguments: 0.01)
    without = refitted.experiment.study.model_copy(update={"final": "none"})
    progress = Progress(refitted.experiment)
    scripts = progress.scripts()
    assert scripts[-2:] == ["distill/refit.py", "benchmarks/report.py"]
    assert list(progress.build("distill/refit.py")) == []  # finished
    assert Progress(replace(refitted.experiment, study=without)).scripts() == [*scripts[:-2], scripts[-1]]


def test_an_interrupted_refit_continues_and_gives_the_same_weights(
    refitted: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    again = replace(refitted.experiment, runs=tmp_path / "runs")
    stage_result(again, "teachers/whole")
    train, fit = teacher_stage.train, []

    def stopping(classifier: Any, task: Any, settings: Any, seed: int, folder: Path, evaluate: Any, *rest: Any) -> Any:
        def after_an_epoch(network: Any) -> dict[str, float]:
            fit.append(evaluate(network))
            if len(fit) == 2:
                raise Stopped
            return fit[-1]

        return train(classifier, task, settings, seed, folder, after_an_epoch, *rest)

    monkeypatch.setattr(teacher_stage, "train", stopping)
    with pytest.raises(Stopped):
        stage_result(again, "refit_teachers/whole")
    finished = stage_result(again, "refit_teachers/whole")
    assert fit == [{}, {}, {}]  # the second epoch twice, and never scores
    one, two = (
        load_checkpoint(result.folder).classifier.state_dict()
        for result in (finished, refitted.stages["refit_teachers/whole"])
    )
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_without_images_to_predict_a_refit_is_a_users_error(
    tmp_path: Path, exit_code_of: Callable[..., int], refitted: Chain
) -> None:
    words = ("distill/refit.py", "--study", "micro", "--runs", tmp_path, "--wandb", "disabled", "--set")
    assert exit_code_of(*words, "final=refit") == exit_code_of(*words, "final=none") == 2
    assert not list(tmp_path.rglob("finished.json"))
    require_images_to_predict(refitted.experiment)
    data = refitted.experiment.study.data.model_copy(update={"predict": "", "sample_submission": ""})
    study = refitted.experiment.study.model_copy(update={"data": data})
    with pytest.raises(UserError, match="images to predict"):
        require_images_to_predict(replace(refitted.experiment, study=study))
