"""What the stages that train a network share: a new network, its head fitted to features, and its scores on val."""

import csv
import logging
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from decant.data.preprocessing import Fit, Preprocessing
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.evaluation.scores import scores
from decant.models.backbones import build_classifier, has_fixed_input, head_of
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier, placed
from decant.models.inference import evaluation_batches, features_of, predict
from decant.models.linear_head import MAX_ROWS, choose_probe, rank, subsample
from decant.models.probe import LinearProbe
from decant.seeds import derived_seed
from decant.stages.support.experiment import Experiment
from decant.stages.support.training_data import TrainingData, distinct_rows
from decant.study import Training
from decant.tracking import Log, progress
from decant.training.loop import Evaluate, network_input
from decant.workspace import write_csv

log = logging.getLogger(__name__)
STEM_IMAGES = 5000
Settings = TypeVar("Settings", bound=Training)


def new_checkpoint(settings: Training, classes: list[str], seed: int, fit: Fit) -> Checkpoint:
    """A network with its weights loaded, ready to be trained. settings: resolved. fit: of its preprocessing.

    Raises UserError if the input is to grow, and the network accepts one size alone.
    """
    one_size = has_fixed_input(settings.architecture) and not settings.model_args.get("dynamic_img_size")
    if settings.grow_from < 1 and one_size:
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
    )
    log.info("%s: weights from %s", settings.architecture, source)
    card = {"architecture": settings.architecture, "model_args": settings.model_args, "weights": source}
    return Checkpoint(classifier, classes, Preprocessing(settings.input_px, settings.crop_ratio, fit), card)


def fit_stem(checkpoint: Checkpoint, views: ViewSet) -> None:
    """Compute the stem from training views, for a network with random weights that asks for it (`fast_cnn`)."""
    backbone: Any = checkpoint.classifier.backbone
    if checkpoint.card["weights"] != "none" or not hasattr(backbone, "fit_stem"):
        return
    rendered = views.render(views.partners[:STEM_IMAGES], 0, checkpoint.preprocessing.input_px)
    backbone.fit_stem(checkpoint.classifier.normalised(network_input(rendered, torch.device("cpu"))))


def fit_head(
    experiment: Experiment, data: TrainingData, checkpoint: Checkpoint, rows: np.ndarray, folder: Path, track: Log
) -> None:
    """Write a logistic regression on features of images and of their mirror images into the checkpoint's head.

    rows: cache rows to fit on, of which at most MAX_ROWS are taken. The regularisation is chosen on val by the study's
    metric; `folder/regularisation.csv` contains the scores of each strength. A refit has the strength that was chosen.
    """
    manifest, labels = data.manifest, data.labels
    rows = subsample(rows, labels.targets[rows], MAX_ROWS, derived_seed(experiment.study.seed, "head rows"))
    plain, mirrored = read_features(experiment, checkpoint, manifest_rows(data, rows))
    features, targets = np.concatenate([plain, mirrored]), np.tile(labels.targets[rows], 2)
    weight, classes, metric = np.tile(labels.weight[rows], 2), len(manifest.classes), experiment.study.metric
    head = head_of(checkpoint.classifier)
    if data.chosen is not None:
        LinearProbe(classes, chosen_strength(data.chosen, metric)).fit(features, targets, weight).write_into(head)
        return
    val = manifest.of_split("val")
    val_features, _ = read_features(experiment, checkpoint, val)
    val_targets = manifest.targets(val)
    best, tried = choose_probe(features, targets, weight, val_features, val_targets, classes, metric)
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


def manifest_rows(data: TrainingData, rows: np.ndarray) -> pd.DataFrame:
    """The manifest rows of cache rows, in their order."""
    learned = distinct_rows(data.manifest, data.splits).set_index("content", drop=False)
    return learned.loc[[data.cache.contents[row] for row in rows]]


def read_features(experiment: Experiment, checkpoint: Checkpoint, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Features of the images and of their mirror images, float32 [n, D] each, in the order of `rows`."""
    classifier = placed(checkpoint.classifier, experiment.device).eval()
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    encoded = progress(experiment.encoded_images(rows), "features", len(rows), "images")
    for ids, images in evaluation_batches(encoded, checkpoint.preprocessing):
        images = images.to(experiment.device)
        pair = features_of(classifier, images), features_of(classifier, images.flip(-1))
        pairs.update(zip(ids, zip(*pair, strict=True), strict=True))
    plain, mirrored = zip(*(pairs[id_] for id_ in rows["id"]), strict=True)
    return np.stack(plain), np.stack(mirrored)


def without_val(settings: Settings, chosen: Path | None) -> Settings:
    """The settings of a refit, which has no val to stop or to choose by; others as they are, where `chosen` is None.

    It trains as many epochs as the model in `chosen` did, and the last epoch's weights stand for the best one's.
    """
    if chosen is None:
        return settings
    with (chosen / "history.csv").open(encoding="utf-8", newline="") as file:
        trained = len(list(csv.DictReader(file)))
    keep = "last" if settings.keep == "best" else settings.keep
    return settings.model_copy(update={"epochs": trained, "keep": keep, "patience": 0})


def val_metrics(experiment: Experiment, data: TrainingData, preprocessing: Preprocessing) -> Evaluate:
    """A function that scores a network on val, from the original images; a network that learns val has no scores."""
    manifest = data.manifest
    val = manifest.of_split("val")

    def evaluate(classifier: Classifier) -> dict[str, float]:
        if "val" in data.splits:
            return {}
        batches = evaluation_batches(experiment.encoded_images(val), preprocessing)
        predictions = predict(classifier, batches, experiment.device).aligned(list(val["id"]))
        val_scores = scores(predictions.mean(), manifest.targets(val))
        return {f"val_{name}": round(value, 5) for name, value in val_scores.items()}

    return evaluate
