"""Stages soft_labels/NAME and refit_soft_labels/NAME: a teacher's probabilities for each view that the student sees."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from decant.data.geometry import InputGeometry
from decant.data.pixels import PixelCache
from decant.data.views import VERSION as VIEW_VERSION
from decant.data.views import ViewSet
from decant.distillation.soft_labels import SoftLabelStore
from decant.models.checkpoint import load_checkpoint
from decant.processes import team
from decant.seeds import derived_seed
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import geometry_settings, input_geometry
from decant.stages.support.labelling import Labeller
from decant.stages.support.resolve import Inputs
from decant.stages.support.training_data import Labels, read_training_data
from decant.study import Study, non_defaults
from decant.tracking import Artifact, Record, progress
from decant.workspace import fingerprint, locked, write_json

log = logging.getLogger(__name__)
VERSION = 1
RESUMABLE = True
PARALLEL = True


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {**header(experiment, name, inputs), "views": experiment.study.soft_labels.views}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Label the views that the teacher's store lacks, and write `store.json`, which names the store.

    The store lies beside the stage's folder, and stages with other numbers of views share it: stored views are kept. It
    has a lock of its own, because those stages hold the locks of their own folders.
    """
    study, teacher = experiment.study, name.partition("/")[2]
    data, trained = read_training_data(inputs, name), inputs.folder(f"teachers/{teacher}")
    views = stored_views(study, data.cache, data.labels, input_geometry(experiment, inputs["clean"]))
    classes = len(load_checkpoint(model_folders(trained)[0]).classes)
    store_header = header(experiment, name, inputs)
    store_folder = folder.parent / f"store-{fingerprint(store_header)}"
    with locked(store_folder):
        store = SoftLabelStore.create(
            store_folder, contents=data.cache.contents, classes=classes, teacher=teacher, header=store_header
        )
        label_missing_views(experiment, store, views, trained, range(study.soft_labels.views))
    write_json(folder / "store.json", {"folder": store_folder.name, "views": study.soft_labels.views})


def records(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> Iterator[Record]:
    store = folder_of_store(folder)
    size_mb = sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) / 1e6
    summary = {"views": experiment.study.soft_labels.views, "size_mb": round(size_mb, 3)}
    yield Record(summary=summary, artifacts=artifacts(name, folder, experiment.study.data.may_be_shared))


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    """The header of the store, without the labels."""
    files = {"store.json": folder / "store.json", "header.json": folder_of_store(folder) / "header.json"}
    return [Artifact(name.replace("/", "-"), "soft_labels", folder.name, files)]


def repair(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Label views again that were lost or damaged since. Only `build` takes the lock, so the check never waits."""
    if not is_complete(folder, experiment.study.soft_labels.views):
        build(experiment, name, inputs, folder)


def is_complete(folder: Path, views: int) -> bool:
    """False if views are missing or damaged, or the whole store was deleted."""
    return (folder_of_store(folder) / "header.json").is_file() and not open_store(folder).missing(range(views))


def header(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    """What the labels of a view depend on: all of the stage's settings but the number of views."""
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


def label_missing_views(
    experiment: Experiment, store: SoftLabelStore, views: ViewSet, trained: Path, wanted: range
) -> None:
    """Label the views that the store lacks, one view number at a time. trained: the folder of the teacher's stage."""
    missing = team().same(store.missing(wanted))  # only the first process sees the store
    if not missing:
        return
    labeller = Labeller.of(trained, store.contents(), experiment.device)
    for view in progress(missing, f"soft labels of {store.teacher}", unit="views"):
        store.write(view, labeller.all_probabilities(views, view))
