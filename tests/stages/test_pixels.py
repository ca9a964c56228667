"""The pixel cache: what training may see, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decant.data.geometry import SQUARE, InputGeometry
from decant.data.pixels import PixelCache
from decant.stages.pixels import cache_px, trainable
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import stage_result

Chain = Any


@pytest.fixture
def variant(chain: Chain) -> Callable[..., Experiment]:
    """A function that changes a section of the study, in the same run folder."""

    def make(section: str, **changes: Any) -> Experiment:
        study = chain.experiment.study
        changed = getattr(study, section).model_copy(update=changes)
        return replace(chain.experiment, study=study.model_copy(update={section: changed}))

    return make


def cache_of(experiment: Experiment) -> PixelCache:
    return PixelCache(stage_result(experiment, "pixels").folder)


def contents(chain: Chain, *splits: str) -> set[str]:
    """Content keys of the images of these splits that were not set aside."""
    return set(chain.manifest.of_split(*splits)["content"])


def test_no_image_of_val_test_or_predict_is_in_the_cache(chain: Chain) -> None:
    cached = set(cache_of(chain.experiment).contents)
    assert not cached & contents(chain, "val", "test", "predict")
    assert len(contents(chain, "val")) == len(contents(chain, "test")) == 9


def test_a_label_that_leaks_from_val_could_not_be_trained_on(chain: Chain) -> None:
    # The planted bug: asking the cache for the pixels of a val row.
    val = chain.manifest.of_split("val")
    with pytest.raises(KeyError):
        cache_of(chain.experiment).rows_of(val["content"])


def test_every_kept_train_and_unlabelled_image_is_in_the_cache_once(chain: Chain) -> None:
    cached = cache_of(chain.experiment).contents
    assert sorted(cached) == sorted(contents(chain, "train", "unlabelled"))


def test_a_image_that_was_set_aside_is_not_in_the_cache(chain: Chain) -> None:
    rows = chain.manifest.rows
    dropped = rows[rows["action"] == "drop"]
    assert sorted(dropped["path"]) == ["train/broken.png", "train/copy.png"]
    broken = dropped.loc[dropped["path"] == "train/broken.png", "content"].item()
    assert broken not in cache_of(chain.experiment).contents


def test_no_group_of_the_cache_reaches_into_val_or_test(chain: Chain) -> None:
    rows = chain.manifest.kept()
    cached = set(rows[rows["content"].isin(cache_of(chain.experiment).contents)]["group"])
    assert not cached & set(rows[rows["split"].isin(["val", "test"])]["group"])


def test_photos_to_predict_are_cached_only_where_the_study_is_transductive(
    chain: Chain, variant: Callable[..., Experiment]
) -> None:
    transductive = variant("soft_labels", transductive=True)
    assert set(cache_of(transductive).contents) == contents(chain, "train", "unlabelled", "predict")
    assert stage_result(transductive, "pixels").fingerprint != stage_result(chain.experiment, "pixels").fingerprint


def test_with_a_refit_the_images_to_predict_are_in_its_cache_alone(
    chain: Chain, variant: Callable[..., Experiment]
) -> None:
    study = variant("soft_labels", transductive=True).study.model_copy(update={"final": "refit"})
    experiment = replace(chain.experiment, study=study)
    assert stage_result(experiment, "pixels").fingerprint == stage_result(chain.experiment, "pixels").fingerprint
    refitted = PixelCache(stage_result(experiment, "refit_pixels").folder)
    assert set(refitted.contents) == contents(chain, "train", "val", "test", "unlabelled", "predict")


def test_leaving_out_unlabelled_photos_makes_another_cache(chain: Chain, variant: Callable[..., Experiment]) -> None:
    without = variant("soft_labels", unlabelled=False)
    assert set(cache_of(without).contents) == contents(chain, "train")
    assert stage_result(without, "pixels").fingerprint != stage_result(chain.experiment, "pixels").fingerprint


def test_the_cached_pixels_are_those_of_the_photo(chain: Chain) -> None:
    cache = cache_of(chain.experiment)
    row = chain.manifest.of_split("train").iloc[3]
    place = int(cache.rows_of([row["content"]])[0])
    photo = Image.open(chain.experiment.data_root / "shapes" / row["path"]).convert("RGB")
    assert tuple(cache.sizes[place]) == photo.size == (row["width"], row["height"])
    side = cache.levels[0].shape[1]
    expected = np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(cache.read(np.array([place]), 0)[0], expected)


def test_the_cache_has_a_quarter_more_than_the_largest_input(chain: Chain, variant: Callable[..., Experiment]) -> None:
    experiment = variant("student", input_px=32)
    rows = trainable(experiment.study, chain.manifest).assign(width=500, height=300)
    assert cache_px(experiment.study, rows, SQUARE) == 48  # 32 x 1.25 = 40, up to the next 16
    assert cache_px(variant("student", input_px=160).study, rows, SQUARE) == 208  # 200, up to the next 16


def test_the_cache_is_not_larger_than_the_photos_are(chain: Chain, variant: Callable[..., Experiment]) -> None:
    experiment = variant("student", input_px=160)
    rows = trainable(experiment.study, chain.manifest).assign(width=90, height=100)
    assert cache_px(experiment.study, rows, SQUARE) == 100


def test_a_size_that_the_study_names_is_taken(chain: Chain, variant: Callable[..., Experiment]) -> None:
    experiment = variant("data", cache_px=77)
    assert cache_px(experiment.study, chain.manifest.of_split("train"), SQUARE) == 77


def test_the_cache_of_rectangular_inputs_has_their_shape(chain: Chain, variant: Callable[..., Experiment]) -> None:
    rows = trainable(chain.experiment.study, chain.manifest).assign(width=500, height=300)
    study = variant("student", input_px=128).study
    assert InputGeometry("stretch", 1.87).input_px(128) == (96, 176)
    assert cache_px(study, rows, InputGeometry("stretch", 1.87)) == (128, 224)  # 120 and 220, up to the next 16
