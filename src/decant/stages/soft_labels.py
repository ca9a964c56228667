"""Stage soft_labels/TEACHER: what a teacher says of the views that the student will see."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from decant.data import views as view_module
from decant.data.pixels import PixelCache
from decant.data.views import ViewSet
from decant.distillation.soft_labels import SoftLabelStore, pooled
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.models.classifier import placed
from decant.seeds import derived_seed
from decant.stages.ensemble import Weights
from decant.stages.pixels import open_pixels, pixels
from decant.stages.support.experiment import Experiment
from decant.stages.support.training_data import Labels, labels_of, read_cleaned
from decant.stages.teacher import models_of, teacher
from decant.study import Study
from decant.tracking import progress
from decant.training.loop import network_input
from decant.workspace import StageResult, fingerprint, write_json

log = logging.getLogger(__name__)
VERSION = 1
BATCH = 64

Says = Callable[[int, np.ndarray], np.ndarray]  # view, rows -> probabilities, float32 [len(rows), K]


def stored_views(study: Study, cache: PixelCache, labels: Labels) -> ViewSet:
    """The views that are labelled once and replayed by the student and by its twin."""
    return ViewSet.of(cache, study.student.views, derived_seed(study.seed, "stored views"), labels.labelled)


def soft_labels(experiment: Experiment, name: str) -> StageResult:
    """The store of one teacher. More views can be asked for later: those that are there are kept."""
    study = experiment.study
    trained, cached = teacher(experiment, name), pixels(experiment)
    header = {
        "teacher_digest": trained.fingerprint,
        "folds": study.teachers[name].folds,
        "view_version": view_module.VERSION,
        "study": study.name,
        "views_of": fingerprint([study.student.views.model_dump(mode="json"), study.seed, cached.fingerprint]),
    }

    def build(folder: Path) -> None:
        cache = open_pixels(experiment)
        views = stored_views(study, cache, labels_of(read_cleaned(experiment), cache))
        classes = len(load_checkpoint(models_of(trained)[0]).classes)
        place = folder.parent / f"store-{fingerprint(header)}"
        store = SoftLabelStore.create(place, contents=cache.contents, classes=classes, teacher=name, header=header)
        label_missing_views(experiment, store, views, trained, range(study.soft_labels.views))
        write_json(folder / "store.json", {"folder": place.name, "views": study.soft_labels.views})

    section = {**header, "views": study.soft_labels.views}
    reads = [trained, cached]
    done = experiment.workspace.stage(f"soft_labels/{name}", section, reads, VERSION, build, resumable=True)
    if open_store(done).missing(range(study.soft_labels.views)):
        build(done.folder)  # a view was lost or damaged since
    return done


def open_store(finished: StageResult) -> SoftLabelStore:
    name = json.loads((finished.folder / "store.json").read_text())["folder"]
    return SoftLabelStore.open(finished.folder.parent / name)


def pooled_labels(stores: Mapping[str, SoftLabelStore], weights: Weights) -> Says:
    """What the ensemble says of stored views, from what its teachers said of them."""
    places = [weights.names.index(name) for name in stores]
    shares = [weights.weights[place] for place in places]
    temperatures = [weights.temperatures[place] for place in places]
    return lambda view, rows: pooled(list(stores.values()), shares, temperatures, view, rows)


def label_missing_views(
    experiment: Experiment, store: SoftLabelStore, views: ViewSet, trained: StageResult, wanted: range
) -> None:
    """Run the teacher over the views that the store lacks, one view number at a time."""
    missing = store.missing(wanted)
    if not missing:
        return
    checkpoints = [load_checkpoint(place) for place in models_of(trained)]
    for checkpoint in checkpoints:
        placed(checkpoint.classifier, experiment.device).eval()
    speakers = speaking_models(trained, store.contents(), len(checkpoints))
    for view in progress(missing, f"soft labels of {store.teacher}", unit="views"):
        store.write(view, view_probabilities(experiment, checkpoints, speakers, views, view))


def speaking_models(trained: StageResult, contents: list[str], models: int) -> np.ndarray:
    """bool [models, n]: which models speak for a picture: the one that has not seen it, else all.

    A mixed view may blend in a picture that the speaking model was trained on.
    """
    path = trained.folder / "folds.json"
    fold_of: Mapping[str, int] = json.loads(path.read_text()) if path.is_file() else {}
    speakers = np.ones((models, len(contents)), dtype=bool)
    for row, content in enumerate(contents):
        if content in fold_of:
            speakers[:, row] = np.arange(models) == fold_of[content]
    return speakers


def view_probabilities(
    experiment: Experiment, checkpoints: list[Checkpoint], speakers: np.ndarray, views: ViewSet, view: int
) -> np.ndarray:
    """float32 [n, K]: the mean of the speaking models' probabilities of one view of every picture."""
    classes = len(checkpoints[0].classes)
    total = np.zeros((speakers.shape[1], classes), dtype=np.float32)
    for checkpoint, speaks in zip(checkpoints, speakers, strict=True):
        chosen = np.flatnonzero(speaks)
        for start in range(0, len(chosen), BATCH):
            rows = chosen[start : start + BATCH]
            images = network_input(views.render(rows, view, checkpoint.preprocessing.input_px), experiment.device)
            with torch.inference_mode():
                total[rows] += F.softmax(checkpoint.classifier(images).float(), dim=1).cpu().numpy()
    return total / speakers.sum(axis=0)[:, None]
