"""Stage pixels: every picture that may be trained on, decoded once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from decant.data.manifest import Manifest, read_manifest
from decant.data.pixels import PixelCache, build_pixel_cache
from decant.stages.clean import clean
from decant.stages.support.experiment import Experiment
from decant.tracking import progress
from decant.workspace import StageResult

VERSION = 1
SPARE = 1.25  # cache pixels for one of the largest training input: a typical crop is 0.8 of the picture's side


def pixels(experiment: Experiment) -> StageResult:
    """The pixel cache of train, of the unlabelled rows and, if the study is transductive, of those to predict."""
    cleaned = clean(experiment)
    manifest = read_manifest(cleaned.folder / "manifest.parquet")
    rows = trainable(experiment, manifest)
    px = cache_px(experiment, rows)

    def build(folder: Path) -> None:
        unique = rows.drop_duplicates("content")
        content = dict(zip(unique["id"], unique["content"], strict=True))

        def pictures() -> Iterator[tuple[str, bytes]]:
            for id_, data in progress(experiment.pictures(unique), "decoding", len(unique), "images"):
                yield content[id_], data

        build_pixel_cache(folder, pictures(), list(unique["content"]), px)

    asked = experiment.study.soft_labels
    section = {"px": px, "unlabelled": asked.unlabelled, "transductive": asked.transductive}
    return experiment.workspace.stage("pixels", section, [cleaned], VERSION, build)


def trainable(experiment: Experiment, manifest: Manifest) -> pd.DataFrame:
    """The manifest rows whose pixels training may read; never val or test."""
    soft_labels = experiment.study.soft_labels
    extra = (["unlabelled"] if soft_labels.unlabelled else []) + (["predict"] if soft_labels.transductive else [])
    return manifest.of_split("train", *extra)


def cache_px(experiment: Experiment, rows: pd.DataFrame) -> int:
    """Side of the cache: enough for the largest training input, and no more than the pictures have."""
    study = experiment.study
    if study.data.cache_px:
        return study.data.cache_px
    largest = max(part.input_px for part in (*study.teachers.values(), study.student))
    longest = int(rows[["width", "height"]].max(axis=1).quantile(0.9))
    return min(int(np.ceil(largest * SPARE / 16)) * 16, max(longest, 16))


def open_pixels(experiment: Experiment) -> PixelCache:
    return PixelCache(pixels(experiment).folder)
