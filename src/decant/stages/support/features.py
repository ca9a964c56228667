"""Features of images for a head, stored in parts while a stage is unfinished: an interruption loses one part at most.

The models of a teacher's folds start from the same weights, so they share the features.
"""

import logging
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from decant.data.preprocessing import height_width
from decant.models.checkpoint import Checkpoint
from decant.models.inference import evaluation_batches, features_of, for_inference
from decant.processes import team
from decant.stages.support.experiment import Experiment
from decant.tracking import progress
from decant.workspace import replacing

log = logging.getLogger(__name__)
FOLDER = "features"
PART_IMAGES = 1024
Features = dict[str, np.ndarray]  # manifest id -> float32 [1 or 2, D], of the image, then of its mirror image


def read_features(
    experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame, folder: Path, *, mirrored: bool
) -> np.ndarray:
    """Features of the images, and with `mirrored` those of their mirror images: float32 [1 or 2, n, D], n as in `rows`.

    folder: of the unfinished stage; features in its parts are not computed again. Each of several processes computes a
    share of the rows.
    """
    own = own_features(experiment, checkpoint, rows.iloc[team().part], folder, mirrored)
    return np.stack([team().whole(values, len(rows)) for values in own])


def own_features(
    experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame, folder: Path, mirrored: bool
) -> np.ndarray:
    """What `read_features` returns, computed by this process alone."""
    known = read_parts(folder / FOLDER)
    missing = rows[~rows["id"].isin(list(known))]
    batches = computed(experiment, checkpoint, missing, mirrored) if len(missing) else iter(())
    part: Features = {}
    for batch in batches:
        part |= batch
        if len(part) >= PART_IMAGES:
            known |= write_part(folder / FOLDER, part)
            part = {}
    if part:
        known |= write_part(folder / FOLDER, part)
    return np.stack([known[id_] for id_ in rows["id"]], axis=1)


def computed(experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame, mirrored: bool) -> Iterator[Features]:
    """The features of each batch."""
    size = height_width(checkpoint.preprocessing.input_px)
    classifier = for_inference(checkpoint.classifier, experiment.device, size)
    encoded = progress(experiment.encoded_images(rows), "features", len(rows), "images")
    for ids, images in evaluation_batches(encoded, checkpoint.preprocessing):
        images = images.to(experiment.device)
        variants = [images, images.flip(-1)] if mirrored else [images]
        features = np.stack([features_of(classifier, variant) for variant in variants], axis=1)
        yield dict(zip(ids, features, strict=True))


def write_part(folder: Path, part: Features) -> Features:
    """Write the features as the next part and return them."""
    number = max((int(path.stem) for path in folder.glob("*.npz")), default=-1) + 1
    with replacing(folder / f"{number:04d}.npz") as partial, partial.open("wb") as file:
        np.savez(file, ids=np.array(list(part)), features=np.stack(list(part.values())))
    return part


def read_parts(folder: Path) -> Features:
    """The features of all parts; a damaged part is removed."""
    known: Features = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
                known |= dict(zip(part["ids"].tolist(), part["features"], strict=True))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            log.warning("%s is damaged; its features are computed again", path)
            path.unlink()
    return known


def remove_features(folder: Path) -> None:
    """Remove the parts of a stage that is finished."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
