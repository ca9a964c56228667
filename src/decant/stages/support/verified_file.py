"""What a study's exported file is verified with: its student, and the images of a split from the study's source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decant.data.images import BrokenImage
from decant.data.manifest import Manifest, read_manifest
from decant.errors import UserError
from decant.export.runtime import BrokenFile, OnnxClassifier, read_dtype
from decant.export.verification.images import Images
from decant.stages.support.experiment import Experiment, default_data_root
from decant.study_reading import load_study
from decant.workspace import FINISHED, LATEST, Workspace, followed, is_fingerprint


class StudyImages(Images):
    """The images of a split by their path in the source, with the labels of the cleaned manifest."""

    def __init__(self, experiment: Experiment, split: str, paths: list[str], labels: dict[str, str]) -> None:
        self.experiment, self.split, self.paths, self.labels = experiment, split, paths, labels
        self.where = f"the study {experiment.study.name}"
        self.unknown: list[str] = []  # folders are no labels here
        self.broken: dict[str, str] = {}

    def contents(self, ids: Sequence[str]) -> Iterable[tuple[str, bytes | BrokenImage]]:
        return self.experiment.source.contents(ids)


@dataclass(frozen=True)
class StudyFile:
    """A file to verify, and what a study verifies it with. checkpoint: folder of the student that it was made from.

    fp32: the exported file that an int8 file replaces, if there is one. budget: points of accuracy that it may lose.
    """

    file: Path
    checkpoint: Path
    fp32: Path | None
    budget: float
    images: StudyImages


def study_file(name: str, file: Path | None, data_root: Path | None, runs: Path, split: str | None) -> StudyFile:
    """The finished stages of a study that a file was made from, by default of its newest export. Nothing is built.

    The file's metadata name the student and the cleaned data; otherwise the study's newest are taken. split: default
    val. Raises UserError if a stage or the split is missing.
    """
    experiment = Experiment(load_study(name), (data_root or default_data_root()).resolve(), runs.resolve())
    workspace = experiment.workspace
    file = followed(file or workspace.folder / "export" / LATEST / "student.onnx")
    metadata = metadata_of(file)
    cleaned = stage_folder(workspace, "clean", metadata.get("data"), "manifest.parquet")
    trained = "shipped" if "choice" in metadata or not metadata else "student"  # files from before there was a choice
    checkpoint = stage_folder(workspace, trained, metadata.get("student"), "model.json")
    images = images_of(experiment, read_manifest(cleaned), split or "val")
    fp32 = fp32_of(workspace, metadata)
    return StudyFile(file, checkpoint, fp32, experiment.study.export.int8_budget_points, images)


def metadata_of(file: Path) -> dict[str, str]:
    """The file's metadata; empty for a broken file, which verification reports."""
    try:
        return OnnxClassifier(file).metadata
    except BrokenFile:
        return {}


def fp32_of(workspace: Workspace, metadata: Mapping[str, str]) -> Path | None:
    """The export of the student that an int8 file was made from; the newest if the file names no student.

    None if there is no such export, and for a file that is not int8.
    """
    if read_dtype(metadata) != "int8":
        return None
    newest = followed(workspace.folder / "export" / LATEST)
    for folder in (newest, *sorted(mark.parent for mark in workspace.store.glob(f"export/*/{FINISHED}"))):
        file = folder / "student.onnx"
        if file.is_file() and metadata.get("student") in (None, metadata_of(file).get("student")):
            return file
    return None


def stage_folder(workspace: Workspace, stage: str, fingerprint: str | None, file: str) -> Path:
    """The folder of the finished stage that an ONNX file names, the study's newest if it names none.

    Raises UserError if it is missing. The file is untrusted: a text that is no fingerprint could lead out of the store.
    """
    if fingerprint is not None and not is_fingerprint(fingerprint):
        raise UserError(
            f"the file names {stage} {fingerprint!r}, which is no fingerprint; export it again, or give --checkpoint "
            "and --data instead of --study"
        )
    newest = followed(workspace.folder / stage / LATEST)
    folder = workspace.store / stage / fingerprint if fingerprint else newest
    if not (folder / file).is_file():
        raise UserError(
            f"{folder / file} is missing, which the file was made from; run python distill/run.py, or give "
            "--checkpoint and --data instead of --study"
        )
    return folder


def images_of(experiment: Experiment, manifest: Manifest, split: str) -> StudyImages:
    """All kept images of a split, in the order of their ids. Raises UserError if the split is empty."""
    rows = manifest.of_split(split)
    if not len(rows):
        known = ", ".join(sorted(set(manifest.kept()["split"].dropna())))
        raise UserError(f"the study {experiment.study.name} has no split {split!r}; it has {known}")
    labels = {path: label for path, label in zip(rows["path"], rows["label"], strict=True) if label is not None}
    return StudyImages(experiment, split, list(rows["path"]), labels)
