"""Stage teachers/NAME: one teacher, whole or out of fold, fine-tuned or probed."""

import logging
from pathlib import Path

import numpy as np

from decant.data.manifest import Manifest
from decant.data.preprocessing import Preprocessing
from decant.data.splits import folds
from decant.data.views import VERSION as VIEW_VERSION
from decant.data.views import ViewSet
from decant.errors import UserError
from decant.evaluation.scores import scores
from decant.models.backbones import build_classifier
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.models.classifier import Classifier
from decant.models.inference import evaluation_batches, predict
from decant.seeds import derived_seed
from decant.stages.clean import clean
from decant.stages.pixels import pixels
from decant.stages.support.auto_settings import resolve, source_digest
from decant.stages.support.experiment import Experiment
from decant.stages.support.linear_head import fit_head
from decant.stages.support.training_data import Labels, TrainingData, training_data
from decant.study import Training
from decant.tracking import Log
from decant.training.loop import Evaluate, Task, train
from decant.training.supervised import supervised_loss
from decant.workspace import StageResult, write_json

log = logging.getLogger(__name__)
VERSION = 1


def teacher(experiment: Experiment, name: str) -> StageResult:
    """Train teacher `name`: `model.safetensors` and `model.json`, or one pair in each `fold<k>/`."""
    if name not in experiment.study.teachers:
        raise UserError(f"no teacher {name!r} in {experiment.study.name}: {', '.join(experiment.study.teachers)}")
    settings = resolve(experiment, experiment.study.teachers[name])
    seed = derived_seed(experiment.study.seed, "teacher", name)
    section = {**settings.model_dump(mode="json", exclude={"recipe"}), "seed": seed, "view_version": VIEW_VERSION}
    section["weights"] = [source_digest(source) for source in settings.weights]
    if "probe" in (settings.kind, settings.head):
        section["metric"] = experiment.study.metric  # chooses how strongly the head is regularised

    def build(folder: Path) -> None:
        data = training_data(experiment)
        parts = training_parts(data.labels, settings.folds, seed)
        for part, rows in parts.items():
            place = folder / part if part else folder
            if (place / "model.json").is_file():
                continue  # this fold was finished before an interruption
            log.info("teacher %s %s: %d images", name, part or "", len(rows))
            checkpoint = new_checkpoint(experiment, settings, data.manifest.classes, seed)
            with experiment.track(f"teachers/{name}{part}", section) as track:
                if settings.kind == "probe" or settings.head == "probe":
                    fit_head(experiment, data, checkpoint, rows, place, track)
                if settings.kind == "finetune":
                    views = ViewSet.of(data.cache, settings.views, derived_seed(seed, part), rows)
                    checkpoint = fine_tune(experiment, settings, data, checkpoint, views, seed, place, track)
            save_checkpoint(place, checkpoint)
        if settings.folds:
            write_json(folder / "folds.json", fold_of_content(data.cache.contents, data.labels, parts))

    reads = [clean(experiment), pixels(experiment)]
    return experiment.workspace.stage(f"teachers/{name}", section, reads, VERSION, build, resumable=True)


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
    data: TrainingData,
    checkpoint: Checkpoint,
    views: ViewSet,
    seed: int,
    folder: Path,
    track: Log,
) -> Checkpoint:
    """Train all weights with the given labels of the views' own pictures."""
    labels, classes = data.labels, len(data.manifest.classes)
    criterion = supervised_loss(
        views, labels.targets, labels.weight, classes, settings.label_smoothing, settings.balance
    )
    trained = train(
        checkpoint.classifier,
        Task(views.partners, views, criterion),
        settings,
        seed,
        folder,
        val_metrics(experiment, data.manifest, checkpoint.preprocessing),
        settings.precision,
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


def models_of(finished: StageResult) -> list[Path]:
    """The checkpoint folders of a trained teacher or student: one, or one a fold in the order of the folds."""
    places = sorted(finished.folder.glob("fold*/"), key=lambda place: int(place.name.removeprefix("fold")))
    return places or [finished.folder]
