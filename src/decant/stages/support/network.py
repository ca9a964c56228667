"""What the stages that train a network share: a new network, its head fitted to features, and its scores on val."""

import csv
import logging
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import nn

from decant.data.preprocessing import Fit, Preprocessing
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.evaluation.scores import scores
from decant.models.backbones import build_classifier, has_fixed_input, head_of
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier
from decant.models.linear_head import VERSION as HEAD_VERSION
from decant.models.linear_head import choose_probe, rank, rows_to_fit
from decant.models.regressions import GivenHead, Regressions
from decant.models.zero_shot import zero_shot_head
from decant.seeds import derived_seed
from decant.stages.support.experiment import Experiment
from decant.stages.support.features import read_features
from decant.stages.support.predicted import predicted
from decant.stages.support.training_data import TrainingData, distinct_rows
from decant.study import Training
from decant.tracking import Metrics
from decant.training.loop import Evaluate, network_input
from decant.workspace import write_csv

log = logging.getLogger(__name__)
STEM_IMAGES = 5000
Settings = TypeVar("Settings", bound=Training)


def new_checkpoint(settings: Training, classes: list[str], seed: int, fit: Fit) -> Checkpoint:
    """A network with its weights loaded, ready to be trained. settings: resolved. fit: of its preprocessing.

    Raises UserError if the input grows during training, but the network accepts one size only.
    """
    fixed_size = has_fixed_input(settings.architecture) and not settings.model_args.get("dynamic_img_size")
    if settings.grow_from < 1 and fixed_size:
        raise UserError(
            f"{settings.architecture} accepts inputs of one size; leave grow_from at 1, or for a vision transformer of "
            "timm add model_args: {dynamic_img_size: true}"
        )
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
    if settings.head == "zero":
        start_at_zero(head_of(classifier))
    log.info("%s: weights from %s", settings.architecture, source)
    card = {"architecture": settings.architecture, "model_args": settings.model_args, "weights": source}
    if settings.head == "mlp":
        card["head"] = "mlp"
    return Checkpoint(classifier, classes, Preprocessing(settings.input_px, settings.crop_ratio, fit), card)


@torch.no_grad()
def start_at_zero(head: nn.Linear) -> None:
    """Set weights and bias to 0: the first loss is ln K, and the first steps change the head alone.

    As in "Big Transfer" (Kolesnikov et al. 2020). timm's EfficientNets draw a head of K classes from ±1/√K, whatever
    the number of features. With pretrained features the first loss is then far above ln K, and its gradients of noise
    change the features for the worse.
    """
    for parameter in head.parameters():
        parameter.zero_()


def head_settings(settings: Training) -> dict[str, int]:
    """A fitted head's part of a fingerprint, the version of its code; nothing if the head is not fitted."""
    return {"head_version": HEAD_VERSION} if settings.fits_head else {}


def fit_stem(checkpoint: Checkpoint, views: ViewSet) -> None:
    """Compute the stem of a network with random weights from training views, if it can be fitted (`fast_cnn`)."""
    backbone: Any = checkpoint.classifier.backbone
    if checkpoint.card["weights"] != "none" or not hasattr(backbone, "fit_stem"):
        return
    rendered = views.render(views.partners[:STEM_IMAGES], 0, checkpoint.preprocessing.input_px)
    backbone.fit_stem(checkpoint.classifier.normalised(network_input(rendered, torch.device("cpu"))))


def fit_head(
    experiment: Experiment,
    settings: Training,
    data: TrainingData,
    checkpoint: Checkpoint,
    rows: np.ndarray,
    folder: Path,
    features_folder: Path,
    track: Metrics,
) -> None:
    """Write a logistic regression on features of images and of their mirror images into the checkpoint's head.

    rows: cache rows to fit on; a subsample of many. The regularisation is chosen on val by the study's metric;
    `folder/regularisation.csv` contains the scores of each strength. A refit keeps the strength of the first training.
    features_folder: of the stage; features are stored there until it is finished.
    """
    manifest, labels, classes = data.manifest, data.labels, checkpoint.classes
    rows = rows_to_fit(rows, labels.targets[rows], len(classes), derived_seed(experiment.study.seed, "head rows"))
    learned = manifest_rows(data, rows)
    features = np.concatenate(read_features(experiment, checkpoint, learned, features_folder, mirrored=True))
    regressions = Regressions(
        features,
        np.tile(labels.targets[rows], 2),
        np.tile(labels.weight[rows], 2),
        len(classes),
        given_head(settings, classes, features, experiment.device),
        experiment.device,
    )
    head, metric = head_of(checkpoint.classifier), experiment.study.metric
    if data.chosen is not None:
        regressions.fitted(chosen_strength(data.chosen, metric)).write_into(head)
        return
    val = manifest.of_split("val")
    (val_features,) = read_features(experiment, checkpoint, val, features_folder, mirrored=False)
    best, tried = choose_probe(regressions, val_features, manifest.targets(val), metric)
    for row in tried:
        track({f"head/{name}": value for name, value in row.items()})
    best.write_into(head)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "regularisation.csv", tried)


def chosen_strength(folder: Path, metric: str) -> float:
    """The strength that was best on val when the head of the model in `folder` was fitted."""
    with (folder / "regularisation.csv").open(encoding="utf-8", newline="") as file:
        tried = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return max(tried, key=lambda row: rank({name.removeprefix("val_"): row[name] for name in row}, metric))["strength"]


def given_head(settings: Training, classes: list[str], features: np.ndarray, device: torch.device) -> GivenHead | None:
    """The head towards which the fit is regularised, if the settings ask for one. features: float32 [n, D] of train.

    CLIP's logits are those of features of length 1. A linear head cannot divide by the length of each image's features,
    so it divides by their mean length. The predicted classes stay as they are; the probabilities of an image whose
    features are longer or shorter than the mean become a little sharper or flatter.
    """
    if settings.head != "zero_shot":
        return None
    weight = zero_shot_head(settings.architecture, settings.weights[0], classes, settings.prompts, device)
    return GivenHead(weight / np.linalg.norm(features, axis=1).mean(), np.zeros(len(classes)))


def manifest_rows(data: TrainingData, rows: np.ndarray) -> pd.DataFrame:
    """The manifest rows of cache rows, in their order."""
    learned = distinct_rows(data.manifest, data.splits).set_index("content", drop=False)
    return learned.loc[[data.cache.contents[row] for row in rows]]


def without_val(settings: Settings, chosen: Path | None) -> Settings:
    """The settings of a refit, which has no val to stop or to choose by; unchanged settings if `chosen` is None.

    A refit trains as many epochs as the model in `chosen` did, and keeps the last epoch instead of the best one.
    """
    if chosen is None:
        return settings
    with (chosen / "history.csv").open(encoding="utf-8", newline="") as file:
        trained = len(list(csv.DictReader(file)))
    keep = "last" if settings.keep == "best" else settings.keep
    return settings.model_copy(update={"epochs": trained, "keep": keep, "patience": 0})


def val_metrics(experiment: Experiment, data: TrainingData, preprocessing: Preprocessing) -> Evaluate:
    """A function that scores a network on val, from the original images; no scores for a network that learns val."""
    manifest = data.manifest
    val = manifest.of_split("val")

    def evaluate(classifier: Classifier) -> dict[str, float]:
        if "val" in data.splits:
            return {}
        predictions = predicted(experiment, val, classifier, preprocessing)
        val_scores = scores(predictions.mean(), manifest.targets(val))
        return {f"val_{name}": round(value, 5) for name, value in val_scores.items()}

    return evaluate
