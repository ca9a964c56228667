"""What training reads: the cleaned manifest, the pixel cache, and the class, weight and group of each cached image."""

from dataclasses import dataclass

import numpy as np

from decant.data.manifest import Manifest, read_manifest
from decant.data.pixels import PixelCache
from decant.stages.support.resolve import Inputs


@dataclass(frozen=True)
class Labels:
    """Per cache row: targets int64, -1 if unlabelled; weight float64; group str. labelled: int64, rows to train on."""

    targets: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    labelled: np.ndarray


@dataclass(frozen=True)
class TrainingData:
    """The cleaned manifest, the pixel cache and the labels of its rows."""

    manifest: Manifest
    cache: PixelCache
    labels: Labels


def read_training_data(inputs: Inputs) -> TrainingData:
    """Read the results of the stages `clean` and `pixels`."""
    manifest = read_manifest(inputs.folder("clean") / "manifest.parquet")
    cache = PixelCache(inputs.folder("pixels"))
    return TrainingData(manifest, cache, labels_of(manifest, cache))


def labels_of(manifest: Manifest, cache: PixelCache) -> Labels:
    """The labels of the train rows by content; of exact duplicates the first counts (cleaning keeps one)."""
    train = manifest.of_split("train").drop_duplicates("content")
    rows = cache.rows_of(train["content"])
    targets = np.full(len(cache), -1, dtype=np.int64)
    weight, group = np.zeros(len(cache)), np.full(len(cache), "", dtype=object)
    targets[rows] = manifest.targets(train)
    weight[rows], group[rows] = train["weight"], train["group"]
    return Labels(targets, weight, group, np.flatnonzero((targets >= 0) & (weight > 0)))
