"""A head fitted to frozen features: all of a linear probe, and the start of a careful fine-tuning.

Starting from a fitted head keeps fine-tuning from distorting good features while a random head is still wrong, which
costs most under distribution shift (Kumar, Raghunathan, Jones, Ma & Liang 2022, "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution").
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from decant.evaluation.scores import scores
from decant.models.backbones import head_of
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import placed
from decant.models.inference import evaluation_batches, features_of
from decant.models.probe import REGULARISATION, LinearProbe
from decant.seeds import derived_seed
from decant.stages.support.experiment import Experiment
from decant.stages.support.training_data import TrainingData
from decant.tracking import Log, progress
from decant.workspace import write_csv

MOST_ROWS = 10_000  # time and memory of the fit grow with every picture, and seven are fitted


def fit_head(
    experiment: Experiment, data: TrainingData, checkpoint: Checkpoint, rows: np.ndarray, folder: Path, track: Log
) -> None:
    """Write into the checkpoint's head a logistic regression on features of pictures and of their mirror images.

    rows: cache rows to fit on, of which at most MOST_ROWS are taken. The regularisation is chosen on val by the
    study's metric, equals by likelihood; `folder/regularisation.csv` has all that were tried.
    """
    manifest, labels = data.manifest, data.labels
    rows = some_of(rows, labels.targets[rows], MOST_ROWS, derived_seed(experiment.study.seed, "head rows"))
    val = manifest.of_split("val")
    features, mirrored = read_features(experiment, checkpoint, manifest_rows(data, rows))
    val_features, _ = read_features(experiment, checkpoint, val)
    both = np.concatenate([features, mirrored])
    targets, weight = np.tile(labels.targets[rows], 2), np.tile(labels.weight[rows], 2)
    tried: list[tuple[tuple[float, float], LinearProbe]] = []
    rows_tried = []
    for strength in progress(REGULARISATION, "regularisation"):
        probe = LinearProbe(len(manifest.classes), strength).fit(both, targets, weight)
        found = scores(log_softmax(probe.logits(val_features), axis=1), manifest.targets(val))
        tried.append(((found[experiment.study.metric], -found["nll"]), probe))
        rows_tried.append({"strength": strength, **{f"val_{name}": round(found[name], 5) for name in found}})
        track({f"head/{name}": value for name, value in rows_tried[-1].items()})
    _, best = max(tried, key=lambda one: one[0])
    best.write_into(head_of(checkpoint.classifier))
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "regularisation.csv", rows_tried)


def some_of(rows: np.ndarray, targets: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most `most` of the rows, in their order, each class with its share and none left out."""
    if len(rows) <= most:
        return rows
    place = np.empty(len(rows))
    generator = np.random.default_rng(seed)
    for target in np.unique(targets):
        members = np.flatnonzero(targets == target)
        place[generator.permutation(members)] = np.arange(len(members)) / len(members)
    return rows[np.sort(np.argsort(place, kind="stable")[:most])]


def manifest_rows(data: TrainingData, rows: np.ndarray) -> pd.DataFrame:
    """The manifest rows of cache rows, in their order."""
    train = data.manifest.of_split("train").drop_duplicates("content").set_index("content", drop=False)
    return train.loc[[data.cache.contents[row] for row in rows]]


def read_features(experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Features of the pictures and of their mirror images, float32 [n, D] each, in the order of `rows`."""
    classifier = placed(checkpoint.classifier, experiment.device).eval()
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    pictures = progress(experiment.pictures(rows), "features", len(rows), "images")
    for ids, images in evaluation_batches(pictures, checkpoint.preprocessing):
        images = images.to(experiment.device)
        pair = features_of(classifier, images), features_of(classifier, images.flip(-1))
        found.update(zip(ids, zip(*pair, strict=True), strict=True))
    plain, mirrored = zip(*(found[id_] for id_ in rows["id"]), strict=True)
    return np.stack(plain), np.stack(mirrored)
