"""What training needs to know of each cached picture: its class, its weight, its group."""

from dataclasses import dataclass

import numpy as np

from decant.data.manifest import Manifest, read_manifest
from decant.data.pixels import PixelCache
from decant.stages.clean import clean
from decant.stages.pixels import open_pixels
from decant.stages.support.experiment import Experiment


@dataclass(frozen=True)
class Labels:
    """Per cache row. targets: int64, -1 unlabelled. weight: float64. group: str. labelled: int64 rows to train on."""

    targets: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    labelled: np.ndarray


def read_cleaned(experiment: Experiment) -> Manifest:
    """The cleaned manifest."""
    return read_manifest(clean(experiment).folder / "manifest.parquet")


def labels_of(manifest: Manifest, cache: PixelCache) -> Labels:
    """Labels of the train rows by content; the first of exact duplicates speaks (cleaning keeps one)."""
    train = manifest.of_split("train").drop_duplicates("content")
    rows = cache.rows_of(train["content"])
    targets = np.full(len(cache), -1, dtype=np.int64)
    weight, group = np.zeros(len(cache)), np.full(len(cache), "", dtype=object)
    targets[rows] = manifest.targets(train)
    weight[rows], group[rows] = train["weight"], train["group"]
    return Labels(targets, weight, group, np.flatnonzero((targets >= 0) & (weight > 0)))


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained from."""

    manifest: Manifest
    cache: PixelCache
    labels: Labels


def training_data(experiment: Experiment) -> TrainingData:
    """The cleaned manifest, the pixel cache and the labels of its rows."""
    manifest, cache = read_cleaned(experiment), open_pixels(experiment)
    return TrainingData(manifest, cache, labels_of(manifest, cache))
