"""Teachers: which model is trained on which image, and which files remain."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decant.data.manifest import Manifest
from decant.errors import UserError
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.stages import teacher as stage
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.resolve import stage_result
from decant.stages.support.training_data import Labels
from decant.stages.teacher import training_parts
from decant.training import loop

Chain = Any


def labels(count: int = 40, group_size: int = 2) -> Labels:
    """`count` labelled rows of two classes in groups, with an unlabelled one before and after them."""
    targets = np.concatenate([[-1], (np.arange(count) // group_size) % 2, [-1]])
    group = np.array(["", *(f"g{n // group_size}" for n in range(count)), ""], dtype=object)
    return Labels(targets, (targets >= 0).astype(float), group, np.arange(1, count + 1))


def test_a_fold_model_sees_no_image_of_its_own_fold(chain: Chain) -> None:
    data = chain.data
    fold_of = json.loads((chain.stages["teachers/convnext"].folder / "folds.json").read_text())
    for fold in (0, 1):
        shown = {data.cache.contents[row] for row in chain.trainings[f"teachers/convnext/fold{fold}"].shown}
        left_out = {content for content, number in fold_of.items() if number == fold}
        assert left_out and shown and not shown & left_out


def test_a_fold_model_sees_no_near_duplicate_of_its_own_fold(chain: Chain) -> None:
    data = chain.data
    fold_of = json.loads((chain.stages["teachers/convnext"].folder / "folds.json").read_text())
    for fold in (0, 1):
        shown = {data.labels.group[row] for row in chain.trainings[f"teachers/convnext/fold{fold}"].shown}
        rows = data.cache.rows_of([content for content, number in fold_of.items() if number == fold])
        assert not shown & set(data.labels.group[rows])
    groups = data.labels.group[data.labels.labelled].tolist()
    assert len(set(groups)) < len(groups)  # there are groups of two, so the test can fail


def test_every_labelled_train_image_is_left_out_by_exactly_one_fold(chain: Chain) -> None:
    data = chain.data
    fold_of = json.loads((chain.stages["teachers/convnext"].folder / "folds.json").read_text())
    assert sorted(fold_of) == sorted(data.cache.contents[row] for row in data.labels.labelled)


def test_a_teacher_never_sees_a_image_without_a_label(chain: Chain) -> None:
    labelled = set(chain.data.labels.labelled)
    for name, training in chain.trainings.items():
        if name.startswith("teachers/"):
            assert training.shown <= labelled


def test_fold_models_start_from_the_same_weights(chain: Chain) -> None:
    one, two = (chain.trainings[f"teachers/convnext/fold{fold}"].initial for fold in (0, 1))
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_fold_models_end_in_different_weights(chain: Chain) -> None:
    one, two = (
        load_checkpoint(place).classifier.state_dict()
        for place in model_folders(chain.stages["teachers/convnext"].folder)
    )
    assert not torch.equal(one["backbone.stem.0.weight"], two["backbone.stem.0.weight"])


@pytest.mark.parametrize("k", [2, 3, 5])
def test_parts_leave_out_each_labelled_row_once_and_keep_groups_whole(k: int) -> None:
    given = labels()
    parts = training_parts(given, k, seed=3)
    assert list(parts) == [f"fold{index}" for index in range(k)]
    left_out = [np.setdiff1d(given.labelled, rows) for rows in parts.values()]
    assert sorted(np.concatenate(left_out)) == given.labelled.tolist()
    for rows, out in zip(parts.values(), left_out, strict=True):
        assert not set(given.group[rows]) & set(given.group[out])


def test_without_folds_there_is_one_part_with_all_that_is_labelled() -> None:
    given = labels()
    parts = training_parts(given, 0, seed=3)
    assert list(parts) == [""] and parts[""].tolist() == given.labelled.tolist()


def test_models_come_in_the_order_of_their_folds_also_beyond_ten(tmp_path: Path) -> None:
    # Sorted by name, fold10 comes before fold2, and a model would predict images that it was trained on.
    for index in range(12):
        (tmp_path / f"fold{index}").mkdir()
    places = model_folders(tmp_path)
    assert [place.name for place in places] == [f"fold{index}" for index in range(12)]


def test_without_folds_the_model_is_the_stages_folder(tmp_path: Path) -> None:
    assert model_folders(tmp_path) == [tmp_path]


def test_a_checkpoint_contains_its_classes_and_the_source_of_its_weights(chain: Chain) -> None:
    manifest: Manifest = chain.data.manifest
    for place in model_folders(chain.stages["teachers/probe"].folder) + model_folders(
        chain.stages["teachers/convnext"].folder
    ):
        checkpoint = load_checkpoint(place)
        assert checkpoint.classes == manifest.classes
        assert checkpoint.card["weights"] == "none"


def test_an_unknown_teacher_names_the_nearest_one(chain: Chain) -> None:
    with pytest.raises(UserError, match="no teacher 'convnet' in tiny; did you mean convnext"):
        stage_result(chain.experiment, "teachers/convnet")


def test_a_training_survives_a_checkpoint_that_could_not_be_written(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(folder: Path, checkpoint: Checkpoint) -> None:
        raise OSError("No space left on device")

    again = replace(chain.experiment, runs=tmp_path)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(stage, "save_checkpoint", full_disk)
        stage_result(again, "teachers/convnext")
    monkeypatch.setattr(loop, "train_step", lambda *rest: pytest.fail("trained again"))
    monkeypatch.setattr(
        stage, "training_parts", lambda labels, k, seed: {"fold0": training_parts(labels, k, seed)["fold0"]}
    )
    folder = stage_result(again, "teachers/convnext").folder / "fold0"
    expected = chain.stages["teachers/convnext"].folder / "fold0"
    assert (folder / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    assert not (folder / "resume.safetensors").exists()


def test_finished_folds_are_kept_when_a_later_one_is_interrupted(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    calls: list[str] = []
    train = stage.train

    def interrupted(classifier: Any, task: Any, settings: Any, seed: int, folder: Path, *rest: Any) -> Any:
        calls.append(folder.name)
        if len(calls) == 2:
            raise Stopped
        return train(classifier, task, settings, seed, folder, *rest)

    monkeypatch.setattr(stage, "train", interrupted)
    again = replace(chain.experiment, runs=tmp_path)
    with pytest.raises(Stopped):
        stage_result(again, "teachers/convnext")
    finished = stage_result(again, "teachers/convnext")
    assert calls == ["fold0", "fold1", "fold1"]
    for mine, theirs in zip(
        model_folders(finished.folder), model_folders(chain.stages["teachers/convnext"].folder), strict=True
    ):
        assert (mine / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
