"""Soft labels: the store contains what the teacher predicts for the replayed view."""

import copy
import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from decant.data.views import ViewSet
from decant.errors import UserError
from decant.models.checkpoint import load_checkpoint
from decant.stages import soft_labels as stage
from decant.stages.soft_labels import open_store, stored_views
from decant.stages.support import labelling
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.label_check import LARGEST_DIFFERENCE, check_labels
from decant.stages.support.labelling import Labeller
from decant.stages.support.resolve import stage_result
from decant.training.loop import network_input

Chain = Any


def replayed(chain: Chain, name: str, view: int) -> np.ndarray:
    """Probabilities of each model of a teacher for a view rendered again, float64 [models, n, K]."""
    data = chain.data
    views = stored_views(chain.experiment.study, data.cache, data.labels, chain.geometry)
    found = []
    for place in model_folders(chain.stages[f"teachers/{name}"].folder):
        classifier = load_checkpoint(place).classifier
        images = network_input(
            views.render(np.arange(len(data.cache)), view, chain.geometry.input_px(32)), torch.device("cpu")
        )
        with torch.inference_mode():
            found.append(torch.softmax(classifier(images).double(), dim=1).numpy())
    return np.array(found)


@pytest.mark.parametrize("view", [0, 2])
def test_the_store_has_the_teachers_answers_to_the_view_shown_again(chain: Chain, view: int) -> None:
    store = open_store(chain.stages["soft_labels/probe"].folder)
    rows = np.arange(len(store.contents()))
    np.testing.assert_allclose(store.read(view, rows), replayed(chain, "probe", view)[0], atol=2e-3)
    other = replayed(chain, "probe", view + 1)[0]
    assert np.abs(store.read(view, rows) - other).max() > 0.05  # another view would be noticed


def test_a_image_that_a_model_has_seen_is_labelled_by_the_other_one_alone(chain: Chain) -> None:
    store = open_store(chain.stages["soft_labels/convnext"].folder)
    fold_of = json.loads((chain.stages["teachers/convnext"].folder / "folds.json").read_text())
    each = replayed(chain, "convnext", 1)
    apart = []
    for row, content in enumerate(store.contents()):
        found = store.read(1, np.array([row]))[0]
        if content in fold_of:
            np.testing.assert_allclose(found, each[fold_of[content], row], atol=2e-3)
            apart.append(np.abs(each[0, row] - each[1, row]).max())
        else:
            np.testing.assert_allclose(found, each[:, row].mean(axis=0), atol=2e-3)
    assert max(apart) > 0.02  # the wrong model would be noticed
    assert len(apart) < len(store.contents())  # and for some images the mean over all folds is stored


def test_unlabelled_images_are_labelled_too(chain: Chain) -> None:
    data = chain.data
    unlabelled = set(data.manifest.of_split("unlabelled")["content"])
    assert len(unlabelled) == 9
    assert unlabelled <= set(open_store(chain.stages["soft_labels/probe"].folder).contents())


def test_more_views_are_added_and_those_that_are_there_are_kept(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(chain.stages["soft_labels/convnext"].folder)
    before = {path.name: path.read_bytes() for path in store.folder.glob("view-*.npy")}
    asked: list[int] = []
    answer = Labeller.all_probabilities

    def noted(labeller: Labeller, views: Any, view: int) -> np.ndarray:
        asked.append(view)
        return answer(labeller, views, view)

    monkeypatch.setattr(Labeller, "all_probabilities", noted)
    study = chain.experiment.study
    more = study.model_copy(update={"soft_labels": study.soft_labels.model_copy(update={"views": 5})})
    longer = open_store(stage_result(replace(chain.experiment, study=more), "soft_labels/convnext").folder)
    assert asked == [3, 4] and longer.folder == store.folder
    assert {name: (store.folder / name).read_bytes() for name in before} == before


def test_other_augmentations_of_the_student_make_another_store(chain: Chain) -> None:
    study = chain.experiment.study
    student = study.student.model_copy(update={"views": study.student.views.model_copy(update={"rotate_deg": 5.0})})
    experiment = replace(chain.experiment, study=study.model_copy(update={"student": student}))
    other = stage_result(experiment, "soft_labels/probe")
    assert open_store(other.folder).folder != open_store(chain.stages["soft_labels/probe"].folder).folder


def test_a_teacher_left_in_training_mode_is_put_right(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    # The planted bug: BatchNorm of the batch instead of the running statistics.
    data = chain.data
    views = stored_views(chain.experiment.study, data.cache, data.labels, chain.geometry)
    store = open_store(chain.stages["soft_labels/probe"].folder)
    rows = np.arange(len(data.cache))
    left = load_checkpoint(chain.stages["teachers/probe"].folder)
    left.classifier.train()
    with torch.no_grad():
        images = network_input(views.render(rows, 0, chain.geometry.input_px(32)), torch.device("cpu"))
        wrong = torch.softmax(copy.deepcopy(left.classifier)(images), dim=1).numpy()
    assert np.abs(store.read(0, rows) - wrong).max() > 0.05  # it would be noticed
    written: dict[int, np.ndarray] = {}
    monkeypatch.setattr(labelling, "load_checkpoint", lambda place: left)
    monkeypatch.setattr(type(store), "missing", lambda self, wanted: [0])
    monkeypatch.setattr(type(store), "write", lambda self, view, probabilities: written.update({view: probabilities}))
    stage.label_missing_views(chain.experiment, store, views, chain.stages["teachers/probe"].folder, range(1))
    np.testing.assert_allclose(written[0], store.read(0, rows), atol=2e-3)


@pytest.mark.parametrize("name", ["soft_labels/convnext", "soft_labels/probe"])
def test_a_check_finds_the_labels_as_they_were_stored(chain: Chain, name: str) -> None:
    check = check_labels(chain.experiment, name)
    assert check.difference < LARGEST_DIFFERENCE
    assert check.views == [0, 1, 2] and check.images == len(open_store(chain.stages[name].folder).contents())


def test_labels_are_made_again_after_their_store_was_deleted(chain: Chain) -> None:
    """As the check's message says."""
    store = open_store(chain.stages["soft_labels/probe"].folder)
    before = store.read(1, np.arange(len(store.contents())))
    shutil.rmtree(store.folder)
    stage_result(replace(chain.experiment), "soft_labels/probe")  # as in a new process
    again = open_store(chain.stages["soft_labels/probe"].folder)
    np.testing.assert_array_equal(again.read(1, np.arange(len(before))), before)


def test_a_check_finds_labels_of_another_view(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if views were drawn otherwise now than when the labels were made."""
    render = ViewSet.render

    def next_view(self: ViewSet, rows: np.ndarray, view: int, size: Any) -> torch.Tensor:
        return render(self, rows, view + 1, size)

    monkeypatch.setattr(ViewSet, "render", next_view)
    with pytest.raises(UserError, match=r"soft labels of probe: view 0 of image .* differs by .* Delete"):
        check_labels(chain.experiment, "soft_labels/probe")
