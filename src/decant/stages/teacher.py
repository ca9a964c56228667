"""Stage teachers/NAME: one teacher, whole or out of fold, fine-tuned or probed."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from decant.data.evaluation import Preprocessing
from decant.data.manifest import Manifest
from decant.data.splits import folds
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.models.backbones import build_classifier, head_of
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.models.classifier import Classifier, placed
from decant.models.inference import evaluation_batches, features_of, predict
from decant.models.probe import REGULARISATION, LinearProbe
from decant.reporting.metrics import negative_log_likelihood
from decant.seeds import derived_seed
from decant.stages.clean import clean
from decant.stages.experiment import Experiment
from decant.stages.labels import Labels, labels_of, read_cleaned
from decant.stages.pixels import open_pixels, pixels
from decant.stages.scoring import scores
from decant.study import Teacher, Training
from decant.tracking import Log, progress
from decant.training.loop import Evaluate, Task, measured_precision, train
from decant.training.supervised import supervised_loss
from decant.workspace import Finished, write_csv, write_json

log = logging.getLogger(__name__)
VERSION = 1


def teacher(experiment: Experiment, name: str) -> Finished:
    """Train teacher `name`: `model.safetensors` and `model.json`, or one pair in each `fold<k>/`."""
    if name not in experiment.study.teachers:
        raise UserError(f"no teacher {name!r} in {experiment.study.name}: {', '.join(experiment.study.teachers)}")
    settings = experiment.study.teachers[name]
    seed = derived_seed(experiment.study.seed, "teacher", name)
    precision = "fp32" if settings.kind == "probe" else resolve_precision(experiment, settings)
    section = {**settings.model_dump(mode="json", exclude={"recipe"}), "precision": precision, "seed": seed}

    def build(folder: Path) -> None:
        manifest, cache = read_cleaned(experiment), open_pixels(experiment)
        labels = labels_of(manifest, cache)
        parts = training_parts(labels, settings.folds, seed)
        for part, rows in parts.items():
            place = folder / part if part else folder
            if (place / "model.json").is_file():
                continue  # this fold was finished before an interruption
            log.info("teacher %s %s: %d images", name, part or "", len(rows))
            with experiment.track(f"teachers/{name}{part}", section) as track:
                if settings.kind == "probe":
                    checkpoint = fit_probe(experiment, settings, manifest, cache.contents, labels, rows, seed, place)
                else:
                    views = ViewSet.of(cache, settings.views, derived_seed(seed, part), rows)
                    checkpoint = fine_tune(
                        experiment, settings, manifest, views, labels, rows, seed, precision, place, track
                    )
            save_checkpoint(place, checkpoint)
        if settings.folds:
            write_json(folder / "folds.json", fold_of_content(cache.contents, labels, parts))

    reads = [clean(experiment), pixels(experiment)]
    return experiment.workspace.stage(f"teachers/{name}", section, reads, VERSION, build, resumable=True)


def resolve_precision(experiment: Experiment, settings: Training) -> str:
    """The study's word, or what was measured to be faster on this machine the first time it was asked."""
    if settings.precision != "auto":
        return settings.precision

    def decide() -> str:
        classifier, _ = build_classifier(settings.architecture, 10, settings.input_px, ["none"], 0, settings.model_args)
        return measured_precision(classifier, settings, 10, experiment.device)

    key = f"precision of {settings.architecture} at {settings.input_px} px on {experiment.device.type}"
    return str(experiment.workspace.resolved(key, decide))


def training_parts(labels: Labels, k: int, seed: int) -> dict[str, np.ndarray]:
    """Cache rows to train on: one part named "" without folds, else `fold<i>` with fold i left out."""
    if k == 0:
        return {"": labels.labelled}
    fold = folds(labels.group[labels.labelled], labels.targets[labels.labelled], k, seed)
    return {f"fold{i}": labels.labelled[fold != i] for i in range(k)}


def fold_of_content(contents: list[str], labels: Labels, parts: dict[str, np.ndarray]) -> dict[str, int]:
    """Which fold's model has not seen a picture."""
    left_out = {}
    for index, rows in enumerate(parts.values()):
        for row in np.setdiff1d(labels.labelled, rows):
            left_out[contents[row]] = index
    return left_out


def new_checkpoint(experiment: Experiment, settings: Training, classes: list[str], seed: int) -> Checkpoint:
    """A network with its weights loaded, ready to be trained."""
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
    card = {
        "architecture": settings.architecture,
        "model_args": settings.model_args,
        "weights": source,
        "study": experiment.study.name,
    }
    return Checkpoint(classifier, classes, Preprocessing(settings.input_px, settings.crop_ratio), card)


def fine_tune(
    experiment: Experiment,
    settings: Training,
    manifest: Manifest,
    views: ViewSet,
    labels: Labels,
    rows: np.ndarray,
    seed: int,
    precision: str,
    folder: Path,
    track: Log,
) -> Checkpoint:
    """Train all weights with the given labels of `rows`."""
    checkpoint = new_checkpoint(experiment, settings, manifest.classes, seed)
    criterion = supervised_loss(
        views, labels.targets, labels.weight, len(manifest.classes), settings.label_smoothing, settings.balance
    )
    evaluate = val_metrics(experiment, manifest, checkpoint.preprocessing)
    trained = train(
        checkpoint.classifier,
        Task(rows, views, criterion),
        settings,
        seed,
        folder,
        evaluate,
        precision,
        experiment.device,
        track,
    )
    return Checkpoint(trained, checkpoint.classes, checkpoint.preprocessing, checkpoint.card)


def val_metrics(experiment: Experiment, manifest: Manifest, preprocessing: Preprocessing) -> Evaluate:
    """A function that scores a network on val, from the original pictures."""
    val = manifest.of_split("val")

    def evaluate(classifier: Classifier) -> dict[str, float]:
        predictions = predict(
            classifier, evaluation_batches(experiment.pictures(val), preprocessing), experiment.device
        )
        found = scores(predictions.aligned(list(val["id"])).mean(), manifest.targets(val))
        return {f"val_{name}": round(value, 5) for name, value in found.items()}

    return evaluate


def fit_probe(
    experiment: Experiment,
    settings: Teacher,
    manifest: Manifest,
    contents: list[str],
    labels: Labels,
    rows: np.ndarray,
    seed: int,
    folder: Path,
) -> Checkpoint:
    """A logistic regression on the frozen encoder's features of pictures and their mirror images."""
    checkpoint = new_checkpoint(experiment, settings, manifest.classes, seed)
    train_rows = manifest.of_split("train").drop_duplicates("content").set_index("content", drop=False)
    train_rows = train_rows.loc[[contents[row] for row in rows]]
    val = manifest.of_split("val")
    features, mirrored = read_features(experiment, checkpoint, train_rows)
    val_features, _ = read_features(experiment, checkpoint, val)
    both = np.concatenate([features, mirrored])
    targets, weight = np.tile(labels.targets[rows], 2), np.tile(labels.weight[rows], 2)
    tried = []
    best, probe = np.inf, None
    for strength in progress(REGULARISATION, "regularisation"):
        fitted = LinearProbe(len(manifest.classes), strength).fit(both, targets, weight)
        logits = torch.from_numpy(fitted.logits(val_features))
        log_probabilities = torch.log_softmax(logits, dim=1).numpy()
        found = scores(log_probabilities, manifest.targets(val))
        nll = negative_log_likelihood(log_probabilities, manifest.targets(val))
        tried.append({"strength": strength, **{f"val_{name}": round(value, 5) for name, value in found.items()}})
        if nll < best:
            best, probe = nll, fitted
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "regularisation.csv", tried)
    if probe is None:
        raise UserError("the probe's likelihood on val is not finite; is val empty?")
    probe.write_into(head_of(checkpoint.classifier))
    return checkpoint


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


def models_of(finished: Finished) -> list[Path]:
    """The checkpoint folders of a trained teacher or student: one, or one a fold."""
    return sorted(finished.folder.glob("fold*/")) or [finished.folder]
