"""Stage pixels: every image that training may read, decoded once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from decant.data.geometry import InputGeometry
from decant.data.manifest import Manifest, read_manifest
from decant.data.pixels import build_pixel_cache
from decant.data.preprocessing import InputPx, as_input_px, height_width
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.resolve import Inputs
from decant.stages.support.training_data import learned_splits, learns_from_predict
from decant.study import Study
from decant.tracking import progress

VERSION = 1
SPARE = 1.25  # cache pixels per pixel of the largest training input: a typical crop is 0.8 of the image's side


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    rows = trainable(experiment.study, read_manifest(inputs.folder("clean")))
    study, transductive = experiment.study, learns_from_predict(experiment.study, name)
    px = cache_px(study, rows, input_geometry(experiment, inputs["clean"]))
    return {"px": px, "unlabelled": study.soft_labels.unlabelled, "transductive": transductive}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write the pixel cache of train, of unlabelled images and, if the models may learn from them, of those to predict.

    That of a refit also contains val and test, at the same size.
    """
    manifest = read_manifest(inputs.folder("clean"))
    rows = trainable(experiment.study, manifest)
    px = cache_px(experiment.study, rows, input_geometry(experiment, inputs["clean"]))
    unique = trainable(experiment.study, manifest, name).drop_duplicates("content")
    content = dict(zip(unique["id"], unique["content"], strict=True))

    def encoded() -> Iterator[tuple[str, bytes]]:
        for id_, data in progress(experiment.encoded_images(unique), "decoding", len(unique), "images"):
            yield content[id_], data

    build_pixel_cache(folder, encoded(), list(unique["content"]), px)


def trainable(study: Study, manifest: Manifest, name: str = "pixels") -> pd.DataFrame:
    """The manifest rows whose pixels training may read, from the stage `name`."""
    unlabelled = ["unlabelled"] if study.soft_labels.unlabelled else []
    to_predict = ["predict"] if learns_from_predict(study, name) else []
    return manifest.of_split(*learned_splits(name), *unlabelled, *to_predict)


def cache_px(study: Study, rows: pd.DataFrame, geometry: InputGeometry) -> InputPx:
    """Side, or height and width, of the cache: enough for the largest training input, and not more than images have."""
    if study.data.cache_px:
        return as_input_px(height_width(study.data.cache_px))
    input_sizes = [height_width(geometry.input_px(part.input_px)) for part in (*study.teachers.values(), study.student)]
    longest = int(rows[["width", "height"]].max(axis=1).quantile(0.9))
    largest = np.max(input_sizes, axis=0)
    height, width = (min(int(np.ceil(side * SPARE / 16)) * 16, max(longest, 16)) for side in largest)
    return as_input_px((height, width))
