"""What training reads: the cleaned manifest, the pixel cache, and the class, weight and group of each cached image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from decant.data.manifest import AUXILIARY, Manifest, dependent_groups, read_manifest
from decant.data.pixels import PixelCache
from decant.errors import UserError
from decant.stages import REFIT
from decant.stages.support.resolve import Inputs
from decant.study import Study
from decant.training.auxiliary import AuxiliaryLabels

SHIPPED = {f"{REFIT}student": "shipped"}  # whichever of student and twin is trained again


@dataclass(frozen=True)
class Labels:
    """Per cache row: targets int64, -1 if unlabelled; weight float64; group str. labelled: int64, rows to train on."""

    targets: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    labelled: np.ndarray


@dataclass(frozen=True)
class TrainingData:
    """The cleaned manifest, the pixel cache and the labels of its rows.

    splits: whose labels are learned. chosen: the folder of the model that a refit trains again; None for other models.
    """

    manifest: Manifest
    cache: PixelCache
    labels: Labels
    splits: Sequence[str] = ("train",)
    chosen: Path | None = None


def read_training_data(inputs: Inputs, name: str = "") -> TrainingData:
    """Read the results of the stages `clean` and `pixels`. name: of the stage that trains, if it may be a refit."""
    manifest = read_manifest(inputs.folder("clean"))
    cache, splits = PixelCache(inputs.folder("pixels")), learned_splits(name)
    first_training = SHIPPED.get(name, name.removeprefix(REFIT))
    chosen = inputs.folder(first_training) if first_training != name and first_training in inputs else None
    return TrainingData(manifest, cache, labels_of(manifest, cache, splits), splits, chosen)


def learned_splits(name: str) -> Sequence[str]:
    """The splits whose labels a stage learns from."""
    return ("train", "val", "test") if name.startswith(REFIT) else ("train",)


def learns_from_predict(study: Study, name: str) -> bool:
    """True if a stage's models may learn soft labels of the images to predict.

    With a refit, only the refitted models may: the other models are measured and shipped, so they never see the images
    to predict.
    """
    return study.soft_labels.transductive and (study.final != "refit" or name.startswith(REFIT))


def labels_of(manifest: Manifest, cache: PixelCache, splits: Sequence[str] = ("train",)) -> Labels:
    """The labels of the splits by content; the first of exact duplicates counts (cleaning keeps one)."""
    learned = distinct_rows(manifest, splits)
    rows = cache.rows_of(learned["content"])
    targets = np.full(len(cache), -1, dtype=np.int64)
    weight, group = np.zeros(len(cache)), np.full(len(cache), "", dtype=object)
    targets[rows] = manifest.targets(learned)
    weight[rows], group[rows] = learned["weight"], dependent_groups(learned)
    return Labels(targets, weight, group, np.flatnonzero((targets >= 0) & (weight > 0)))


def distinct_rows(manifest: Manifest, splits: Sequence[str]) -> pd.DataFrame:
    """The rows of the splits, each content once."""
    return manifest.of_split(*splits).drop_duplicates("content")


def auxiliary_labels(data: TrainingData, columns: Sequence[str]) -> list[AuxiliaryLabels]:
    """The labels of the auxiliary columns. Raises UserError for a column in which no label of train repeats."""
    learned = distinct_rows(data.manifest, data.splits)
    rows = data.cache.rows_of(learned["content"])
    return [column_labels(data, rows, learned[AUXILIARY + column], column) for column in columns]


def column_labels(data: TrainingData, rows: np.ndarray, labels: pd.Series, column: str) -> AuxiliaryLabels:
    """The auxiliary labels of one column. labels: of the cache rows `rows`."""
    names = sorted(set(labels.dropna()))
    if len(names) == labels.notna().sum():
        raise UserError(
            f"data.auxiliary_columns: no two images of train share a label in the column {column!r} ({len(names)} "
            "labels in all), so nothing can be learned from it; name another column"
        )
    index = {name: number for number, name in enumerate(names)}
    targets = np.full(len(data.cache), -1, dtype=np.int64)
    targets[rows] = [index.get(label, -1) for label in labels]
    return AuxiliaryLabels(targets, len(names))
