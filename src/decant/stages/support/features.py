"""Features of images for a head, kept in parts while a stage is unfinished: an interruption loses one part at most.

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
Pair = tuple[np.ndarray, np.ndarray]  # features of an image and of its mirror image, float32 [D] each


def read_features(
    experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the images and of their mirror images, float32 [n, D] each, in the order of `rows`.

    folder: of the unfinished stage; what its parts contain is not computed again. Each of several processes computes a
    part.
    """
    plain, mirrored = own_features(experiment, checkpoint, rows.iloc[team().part], folder)
    return team().whole(plain, len(rows)), team().whole(mirrored, len(rows))


def own_features(
    experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """What `read_features` returns, computed by this process alone."""
    pairs = read_parts(folder / FOLDER)
    missing = rows[~rows["id"].isin(list(pairs))]
    batches = computed(experiment, checkpoint, missing) if len(missing) else iter(())
    part: dict[str, Pair] = {}
    for batch in batches:
        part |= batch
        if len(part) >= PART_IMAGES:
            pairs |= write_part(folder / FOLDER, part)
            part = {}
    if part:
        pairs |= write_part(folder / FOLDER, part)
    plain, mirrored = zip(*(pairs[id_] for id_ in rows["id"]), strict=True)
    return np.stack(plain), np.stack(mirrored)


def computed(experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame) -> Iterator[dict[str, Pair]]:
    """The pairs of each batch, by manifest id."""
    size = height_width(checkpoint.preprocessing.input_px)
    classifier = for_inference(checkpoint.classifier, experiment.device, size)
    encoded = progress(experiment.encoded_images(rows), "features", len(rows), "images")
    for ids, images in evaluation_batches(encoded, checkpoint.preprocessing):
        images = images.to(experiment.device)
        pair = features_of(classifier, images), features_of(classifier, images.flip(-1))
        yield dict(zip(ids, zip(*pair, strict=True), strict=True))


def write_part(folder: Path, part: dict[str, Pair]) -> dict[str, Pair]:
    """Write the pairs as the next part and return them."""
    plain, mirrored = (np.stack(column) for column in zip(*part.values(), strict=True))
    number = max((int(path.stem) for path in folder.glob("*.npz")), default=-1) + 1
    with replacing(folder / f"{number:04d}.npz") as beside, beside.open("wb") as file:
        np.savez(file, ids=np.array(list(part)), plain=plain, mirrored=mirrored)
    return part


def read_parts(folder: Path) -> dict[str, Pair]:
    """The pairs of all parts; a damaged part is removed."""
    pairs: dict[str, Pair] = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
                pairs |= dict(zip(part["ids"].tolist(), zip(part["plain"], part["mirrored"], strict=True), strict=True))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            log.warning("%s is damaged; its features are computed again", path)
            path.unlink()
    return pairs


def remove_features(folder: Path) -> None:
    """Remove the parts of a stage that is finished."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
