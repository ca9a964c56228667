"""Features for a head: those of the evaluation transform, and none computed twice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import decode
from decant.models.backbones import build_classifier, embed
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.stages.support import features as module
from decant.stages.support.features import FOLDER, read_features, remove_features

Chain = Any


def blank(chain: Chain) -> Checkpoint:
    trained = load_checkpoint(chain.stages["teachers/probe"].folder)
    classifier, _ = build_classifier("test_efficientnet", len(trained.classes), 32, ["none"], 0)
    return replace(trained, classifier=classifier)


def test_features_are_those_of_the_evaluation_transform_and_of_its_mirror_image(chain: Chain, tmp_path: Path) -> None:
    checkpoint = blank(chain)
    rows = chain.data.manifest.of_split("val")
    features, mirrored = read_features(chain.experiment, checkpoint, rows, tmp_path, mirrored=True)
    for place, (_, row) in enumerate(rows.iterrows()):
        photo = decode((chain.experiment.data_root / "shapes" / row["path"]).read_bytes())
        image = evaluation_transform(photo, checkpoint.preprocessing)[None]
        with torch.inference_mode():
            np.testing.assert_allclose(features[place], embed(checkpoint.classifier, image)[0].numpy(), atol=1e-4)
            np.testing.assert_allclose(
                mirrored[place], embed(checkpoint.classifier, image.flip(-1))[0].numpy(), atol=1e-4
            )


def test_mirror_images_are_computed_only_where_they_are_asked_for(chain: Chain, tmp_path: Path) -> None:
    checkpoint, rows = blank(chain), chain.data.manifest.of_split("val")
    both = read_features(chain.experiment, checkpoint, rows, tmp_path / "both", mirrored=True)
    alone = read_features(chain.experiment, checkpoint, rows, tmp_path / "alone", mirrored=False)
    assert len(both) == 2 and len(alone) == 1
    np.testing.assert_array_equal(alone[0], both[0])


def test_what_was_computed_before_an_interruption_is_not_computed_again(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, rows = blank(chain), chain.data.manifest.of_split("train")
    whole = read_features(chain.experiment, checkpoint, rows, tmp_path / "whole", mirrored=True)
    monkeypatch.setattr(module, "PART_IMAGES", 8)
    read_features(chain.experiment, checkpoint, rows.iloc[:12], tmp_path, mirrored=True)
    seen: list[str] = []
    computed = module.computed

    def noted(experiment: Any, checkpoint: Checkpoint, missing: Any, mirrored: bool) -> Any:
        seen.extend(missing["id"])
        return computed(experiment, checkpoint, missing, mirrored)

    monkeypatch.setattr(module, "computed", noted)
    resumed = read_features(chain.experiment, checkpoint, rows, tmp_path, mirrored=True)
    assert sorted(seen) == sorted(rows["id"].iloc[12:])
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_damaged_part_is_computed_again(chain: Chain, tmp_path: Path) -> None:
    checkpoint, rows = blank(chain), chain.data.manifest.of_split("val")
    expected = read_features(chain.experiment, checkpoint, rows, tmp_path, mirrored=True)
    (part,) = (tmp_path / FOLDER).glob("*.npz")
    part.write_bytes(part.read_bytes()[:100])
    np.testing.assert_array_equal(read_features(chain.experiment, checkpoint, rows, tmp_path, mirrored=True), expected)


def test_a_finished_stage_keeps_no_features(chain: Chain, tmp_path: Path) -> None:
    read_features(chain.experiment, blank(chain), chain.data.manifest.of_split("val"), tmp_path, mirrored=False)
    remove_features(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not list(chain.stages["teachers/probe"].folder.rglob("*.npz"))
