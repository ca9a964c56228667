"""Stages soft_labels/NAME and refit_soft_labels/NAME: a teacher's probabilities for each view that the student sees."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from decant.data.geometry import InputGeometry
from decant.data.pixels import PixelCache
from decant.data.preprocessing import height_width
from decant.data.views import VERSION as VIEW_VERSION
from decant.data.views import ViewSet
from decant.distillation.soft_labels import SoftLabelStore, pooled
from decant.distillation.table import LabelledView, write_table
from decant.errors import UserError
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.models.inference import for_inference
from decant.processes import team
from decant.seeds import derived_seed
from decant.stages.pixels import trainable
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import geometry_settings, input_geometry
from decant.stages.support.resolve import Inputs, inputs_of, stage_result
from decant.stages.support.training_data import Labels, read_training_data
from decant.stages.support.weights import Weights, read_weights, weights_of
from decant.study import Study, non_defaults
from decant.tracking import progress
from decant.training.loop import network_input
from decant.workspace import fingerprint, locked, write_json

log = logging.getLogger(__name__)
VERSION = 1
RESUMABLE = True
PARALLEL = True
BATCH = 64
CHECKED_VIEWS, CHECKED_IMAGES = 3, 256
LARGEST_DIFFERENCE = 2e-3  # of a probability: float16 logarithms, and sums in another order on another processor

PooledLabels = Callable[[int, np.ndarray], np.ndarray]  # view, rows -> probabilities, float32 [len(rows), K]


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {**header(experiment, name, inputs), "views": experiment.study.soft_labels.views}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Label the views that the teacher's store lacks, and write `store.json`, which names the store.

    The store lies beside the stage's folder and is shared by all numbers of views: views that are there are kept. It
    has a lock of its own, because stages with other numbers of views hold the locks of other folders.
    """
    study, teacher = experiment.study, name.partition("/")[2]
    data, trained = read_training_data(inputs, name), inputs.folder(f"teachers/{teacher}")
    views = stored_views(study, data.cache, data.labels, input_geometry(experiment, inputs["clean"]))
    classes = len(load_checkpoint(model_folders(trained)[0]).classes)
    described = header(experiment, name, inputs)
    store_folder = folder.parent / f"store-{fingerprint(described)}"
    with locked(store_folder):
        store = SoftLabelStore.create(
            store_folder, contents=data.cache.contents, classes=classes, teacher=teacher, header=described
        )
        label_missing_views(experiment, store, views, trained, range(study.soft_labels.views))
    write_json(folder / "store.json", {"folder": store_folder.name, "views": study.soft_labels.views})


def repair(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Label views again that were lost or damaged since. `build` takes the lock: looking alone waits for nobody."""
    if not is_complete(folder, experiment.study.soft_labels.views):
        build(experiment, name, inputs, folder)


def is_complete(folder: Path, views: int) -> bool:
    """False if views are missing or damaged, or the whole store was deleted."""
    return (folder_of_store(folder) / "header.json").is_file() and not open_store(folder).missing(range(views))


def header(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    """What identifies the labels whatever the number of views."""
    study, teacher = experiment.study, name.partition("/")[2]
    geometry = geometry_settings(input_geometry(experiment, inputs["clean"]))
    return {
        "teacher_digest": inputs[f"teachers/{teacher}"].fingerprint,
        "folds": study.teachers[teacher].folds,
        "view_version": VIEW_VERSION,
        **geometry,
        "views_of": fingerprint([non_defaults(study.student.views), study.seed, inputs["pixels"].fingerprint]),
    }


def stored_views(study: Study, cache: PixelCache, labels: Labels, geometry: InputGeometry) -> ViewSet:
    """The views that are labelled once, and that the student and its twin replay."""
    return ViewSet.of(cache, study.student.views, derived_seed(study.seed, "stored views"), labels.labelled, geometry)


def open_store(folder: Path) -> SoftLabelStore:
    """The store of the finished stage in `folder`."""
    return SoftLabelStore.open(folder_of_store(folder))


def folder_of_store(folder: Path) -> Path:
    return folder.parent / str(json.loads((folder / "store.json").read_text(encoding="utf-8"))["folder"])


def pooled_labels(stores: Mapping[str, SoftLabelStore], weights: Weights) -> PooledLabels:
    """The ensemble's probabilities for stored views, pooled from its teachers' stores as they are read."""
    of, kept = weights_of(weights, stores), list(stores.values())

    def labels(view: int, rows: np.ndarray) -> np.ndarray:
        return pooled(kept, of.weights, of.view_temperatures, view, rows, of.view_temperature, log_linear=of.log_linear)

    return labels


def label_missing_views(
    experiment: Experiment, store: SoftLabelStore, views: ViewSet, trained: Path, wanted: range
) -> None:
    """Run the teacher over the views that the store lacks, one view number at a time."""
    missing = team().same(store.missing(wanted))  # only the first process sees the store
    if not missing:
        return
    checkpoints = [inference_checkpoint(folder, experiment.device) for folder in model_folders(trained)]
    labelling = labelling_models(trained, store.contents(), len(checkpoints))
    for view in progress(missing, f"soft labels of {store.teacher}", unit="views"):
        store.write(view, view_probabilities(experiment, checkpoints, labelling, views, view))


def inference_checkpoint(folder: Path, device: torch.device) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    size = height_width(checkpoint.preprocessing.input_px)
    return replace(checkpoint, classifier=for_inference(checkpoint.classifier, device, size))


def labelling_models(trained: Path, contents: list[str], models: int) -> np.ndarray:
    """bool [models, n]: which models label an image: the one that was trained without it, else all.

    A mixed view may blend in an image that the labelling model was trained on.
    """
    path = trained / "folds.json"
    fold_of: Mapping[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    labelling = np.ones((models, len(contents)), dtype=bool)
    for row, content in enumerate(contents):
        if content in fold_of:
            labelling[:, row] = np.arange(models) == fold_of[content]
    return labelling


def view_probabilities(
    experiment: Experiment, checkpoints: list[Checkpoint], labelling: np.ndarray, views: ViewSet, view: int
) -> np.ndarray:
    """float32 [n, K]: the labels of one view of every image, made by all processes together."""
    mine = np.arange(labelling.shape[1])[team().part]
    total = np.zeros((labelling.shape[1], len(checkpoints[0].classes)), dtype=np.float32)
    total[mine] = row_probabilities(experiment, checkpoints, labelling, views, view, mine)
    return team().sum(total)


def row_probabilities(
    experiment: Experiment,
    checkpoints: list[Checkpoint],
    labelling: np.ndarray,
    views: ViewSet,
    view: int,
    rows: np.ndarray,
) -> np.ndarray:
    """float32 [len(rows), K]: the mean of the labelling models' probabilities for one view of some images."""
    total = np.zeros((len(rows), len(checkpoints[0].classes)), dtype=np.float32)
    for checkpoint, labels in zip(checkpoints, labelling, strict=True):
        chosen = np.flatnonzero(labels[rows])
        for start in range(0, len(chosen), BATCH):
            some = chosen[start : start + BATCH]
            rendered = views.render(rows[some], view, checkpoint.preprocessing.input_px)
            with torch.inference_mode():
                logits = checkpoint.classifier(network_input(rendered, experiment.device))
                total[some] += F.softmax(logits.float(), dim=1).cpu().numpy()
    return total / labelling[:, rows].sum(axis=0)[:, None]


def write_pooled_table(experiment: Experiment, path: Path) -> None:
    """Write the ensemble's labels of the stored views as a table for other programs. All stages it reads are built."""
    study, inputs = experiment.study, inputs_of(experiment, "student")
    data = read_training_data(inputs)
    views = stored_views(study, data.cache, data.labels, input_geometry(experiment, inputs["clean"]))
    stores = {name: open_store(result.folder) for name, result in inputs.per_teacher("soft_labels").items()}
    ensemble = pooled_labels(stores, read_weights(inputs.folder("ensemble")))
    rows, contents = np.arange(len(data.cache)), data.cache.contents
    path_of = trainable(study, data.manifest).drop_duplicates("content").set_index("content")["path"]
    labelled = (
        LabelledView(view, contents, ensemble(view, rows), views.draw(rows, view))
        for view in range(study.soft_labels.views)
    )
    fit, aspect = views.geometry.fit, views.geometry.aspect
    about = {"study": study.name, "teachers": list(stores), "fit": fit, "aspect": aspect, "view_version": VIEW_VERSION}
    write_table(path, labelled, contents, path_of[contents].tolist(), data.manifest.classes, about)


@dataclass(frozen=True)
class Check:
    """A sample of stored labels, computed again. difference: the largest of a probability."""

    teacher: str
    views: list[int]
    images: int
    difference: float


def check_labels(experiment: Experiment, name: str) -> Check:
    """Compute a sample of a finished store again. Raises UserError if a stored label differs by more than rounding."""
    inputs, teacher = inputs_of(experiment, name), name.partition("/")[2]
    data, trained = read_training_data(inputs, name), inputs.folder(f"teachers/{teacher}")
    views = stored_views(experiment.study, data.cache, data.labels, input_geometry(experiment, inputs["clean"]))
    store = open_store(stage_result(experiment, name).folder)
    checkpoints = [inference_checkpoint(folder, experiment.device) for folder in model_folders(trained)]
    contents = store.contents()
    labelling = labelling_models(trained, contents, len(checkpoints))
    random = np.random.default_rng(0)
    of_views = random.permutation(experiment.study.soft_labels.views)[:CHECKED_VIEWS]
    rows = np.sort(random.permutation(len(contents))[:CHECKED_IMAGES])
    largest = 0.0
    for view in sorted(of_views.tolist()):
        again = row_probabilities(experiment, checkpoints, labelling, views, view, rows)
        differences = np.abs(store.read(view, rows) - store.as_stored(again)).max(axis=1)
        largest = max(largest, float(differences.max()))
        if largest > LARGEST_DIFFERENCE:
            worst = contents[rows[differences.argmax()]]
            raise UserError(
                f"soft labels of {teacher}: view {view} of image {worst[:16]} differs by {largest:.3f} from what the "
                f"teacher predicts ({LARGEST_DIFFERENCE} is allowed). Delete {store.folder} and make the labels again"
            )
    return Check(teacher, sorted(of_views.tolist()), len(rows), largest)
