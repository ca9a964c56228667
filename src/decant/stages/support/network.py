"""What the stages that train a network share: a new network, its head fitted to features, and its scores on val."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from decant.data.manifest import Manifest
from decant.data.preprocessing import Fit, Preprocessing
from decant.evaluation.scores import scores
from decant.models.backbones import build_classifier, head_of
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier
from decant.models.inference import evaluation_batches, predict
from decant.models.linear_head import VERSION as HEAD_VERSION
from decant.models.linear_head import choose_probe, rows_to_fit
from decant.models.regressions import GivenHead, Regressions
from decant.models.zero_shot import zero_shot_head
from decant.seeds import derived_seed
from decant.stages.support.experiment import Experiment
from decant.stages.support.features import read_features
from decant.stages.support.training_data import TrainingData
from decant.study import Training
from decant.tracking import Log
from decant.training.loop import Evaluate
from decant.workspace import write_csv

log = logging.getLogger(__name__)


def new_checkpoint(settings: Training, classes: list[str], seed: int, fit: Fit) -> Checkpoint:
    """A network with its weights loaded, ready to be trained. settings: resolved. fit: of its preprocessing."""
    classifier, source = build_classifier(
        settings.architecture,
        len(classes),
        settings.input_px,
        settings.weights,
        seed,
        settings.model_args,
        settings.drop_path,
        settings.dropout,
        settings.head == "mlp",
    )
    log.info("%s: weights from %s", settings.architecture, source)
    card = {"architecture": settings.architecture, "model_args": settings.model_args, "weights": source}
    if settings.head == "mlp":
        card["head"] = "mlp"
    return Checkpoint(classifier, classes, Preprocessing(settings.input_px, settings.crop_ratio, fit), card)


def head_settings(settings: Training) -> dict[str, int]:
    """What of the code that fits a head belongs into a fingerprint: nothing if the head is not fitted."""
    return {"head_version": HEAD_VERSION} if settings.fits_head else {}


def fit_head(
    experiment: Experiment,
    settings: Training,
    data: TrainingData,
    checkpoint: Checkpoint,
    rows: np.ndarray,
    folder: Path,
    features_folder: Path,
    track: Log,
) -> None:
    """Write a logistic regression on features of images and of their mirror images into the checkpoint's head.

    rows: cache rows to fit on; of many, a subsample is taken. The regularisation is chosen on val by the study's
    metric; `folder/regularisation.csv` contains the scores of each strength. features_folder: of the stage, where
    features are kept while it is unfinished.
    """
    manifest, labels, classes = data.manifest, data.labels, checkpoint.classes
    rows = rows_to_fit(rows, labels.targets[rows], len(classes), derived_seed(experiment.study.seed, "head rows"))
    val = manifest.of_split("val")
    plain, mirrored = read_features(experiment, checkpoint, manifest_rows(data, rows), features_folder)
    val_features, _ = read_features(experiment, checkpoint, val, features_folder)
    features = np.concatenate([plain, mirrored])
    regressions = Regressions(
        features,
        np.tile(labels.targets[rows], 2),
        np.tile(labels.weight[rows], 2),
        len(classes),
        given_head(settings, classes, features, experiment.device),
        experiment.device,
    )
    best, tried = choose_probe(regressions, val_features, manifest.targets(val), experiment.study.metric)
    for row in tried:
        track({f"head/{name}": value for name, value in row.items()})
    best.write_into(head_of(checkpoint.classifier))
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "regularisation.csv", tried)


def given_head(settings: Training, classes: list[str], features: np.ndarray, device: torch.device) -> GivenHead | None:
    """The head to which the weights are drawn, if the settings ask for one. features: float32 [n, D] of train.

    CLIP's logits are those of features of length 1. A linear head cannot divide by the length of each image's features,
    so it divides by their mean length, which leaves the predictions as they are.
    """
    if settings.head != "zero_shot":
        return None
    weight = zero_shot_head(settings.architecture, settings.weights[0], classes, settings.prompts, device)
    return GivenHead(weight / np.linalg.norm(features, axis=1).mean(), np.zeros(len(classes)))


def manifest_rows(data: TrainingData, rows: np.ndarray) -> pd.DataFrame:
    """The manifest rows of cache rows, in their order."""
    train = data.manifest.of_split("train").drop_duplicates("content").set_index("content", drop=False)
    return train.loc[[data.cache.contents[row] for row in rows]]


def val_metrics(experiment: Experiment, manifest: Manifest, preprocessing: Preprocessing) -> Evaluate:
    """A function that scores a network on val, from the original images."""
    val = manifest.of_split("val")

    def evaluate(classifier: Classifier) -> dict[str, float]:
        batches = evaluation_batches(experiment.encoded_images(val), preprocessing)
        predictions = predict(classifier, batches, experiment.device).aligned(list(val["id"]))
        val_scores = scores(predictions.mean(), manifest.targets(val))
        return {f"val_{name}": round(value, 5) for name, value in val_scores.items()}

    return evaluate
