"""Predictions: the mean of the folds, or only the fold that was not trained on the image, if there is one."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import decode
from decant.data.predictions import read_predictions
from decant.models.checkpoint import load_checkpoint
from decant.stages.predictions import averaged
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.resolve import stage_result

Chain = Any


def answers(chain: Chain, name: str, ids: list[str], mirrored: bool = False) -> np.ndarray:
    """Probabilities of each model of a teacher for each image, one by one, float64 [models, n, K]."""
    rows = chain.manifest.rows.set_index("id")
    found = []
    for place in model_folders(chain.stages[f"teachers/{name}"].folder):
        checkpoint = load_checkpoint(place)
        one = []
        for id_ in ids:
            photo = decode((chain.experiment.data_root / "shapes" / rows.loc[id_, "path"]).read_bytes())
            image = evaluation_transform(photo, checkpoint.preprocessing)[None]
            with torch.inference_mode():
                logits = checkpoint.classifier(image.flip(-1) if mirrored else image)
            one.append(torch.softmax(logits[0].double(), dim=0).numpy())
        found.append(one)
    return np.array(found)


@pytest.mark.parametrize("split", ["val", "test", "predict"])
@pytest.mark.parametrize("name", ["convnext", "probe"])
def test_other_splits_are_answered_by_the_mean_of_the_models(chain: Chain, name: str, split: str) -> None:
    finished = stage_result(chain.experiment, f"predictions/{name}")
    found = read_predictions(finished.folder, split)
    assert found.ids == list(chain.manifest.of_split(split)["id"])
    expected = answers(chain, name, found.ids).mean(axis=0)
    np.testing.assert_allclose(np.exp(found.members["identity"]), expected, atol=1e-4)
    flipped = answers(chain, name, found.ids, mirrored=True).mean(axis=0)
    np.testing.assert_allclose(np.exp(found.members["hflip"]), flipped, atol=1e-4)


def test_a_train_image_is_answered_by_the_model_that_has_not_seen_it(chain: Chain) -> None:
    finished = stage_result(chain.experiment, "predictions/convnext")
    found = read_predictions(finished.folder, "train")
    fold_of = json.loads((chain.stages["teachers/convnext"].folder / "folds.json").read_text())
    content = chain.manifest.rows.set_index("id")["content"]
    each = answers(chain, "convnext", found.ids)
    blind = np.array([fold_of[content[id_]] for id_ in found.ids])
    expected = each[blind, np.arange(len(blind))]
    seeing = each[1 - blind, np.arange(len(blind))]
    np.testing.assert_allclose(np.exp(found.members["identity"]), expected, atol=1e-4)
    assert np.abs(seeing - expected).max() > 0.01  # so that the other model's answers would be noticed
    assert len(found.ids) == len(fold_of)


def test_a_teacher_without_folds_says_nothing_of_train(chain: Chain) -> None:
    finished = stage_result(chain.experiment, "predictions/probe")
    assert sorted(path.name for path in finished.folder.iterdir() if path.is_dir()) == ["predict", "test", "val"]


def test_the_students_are_predicted_without_test_time_augmentation(chain: Chain) -> None:
    for name in ("student", "student_alone"):
        folder = stage_result(chain.experiment, f"predictions/{name}").folder
        assert list(read_predictions(folder, "val").members) == ["identity"]


def test_folds_are_averaged_as_probabilities_and_not_as_logarithms() -> None:
    one, two = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    found = averaged([{"identity": np.log(one)}, {"identity": np.log(two)}])
    np.testing.assert_allclose(np.exp(found["identity"]), [[0.7, 0.3]], rtol=1e-6)
    assert found["identity"].dtype == np.float32
