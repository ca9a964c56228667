"""What a study's own file is verified with: its student, and the pictures of a split through the study's source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decant.data.images import BrokenImage
from decant.data.manifest import Manifest, read_manifest
from decant.errors import UserError
from decant.export.runtime import BrokenFile, OnnxClassifier
from decant.export.verification.images import Pictures
from decant.stages.support.experiment import Experiment, default_data_root
from decant.study import load_study
from decant.workspace import FINISHED, is_fingerprint


class StudyPictures(Pictures):
    """Pictures of a split by their path in the source; their labels are those of the cleaned manifest."""

    def __init__(self, experiment: Experiment, split: str, paths: list[str], labels: dict[str, str]) -> None:
        self.experiment, self.split, self.paths, self.labels = experiment, split, paths, labels
        self.where = f"the study {experiment.study.name}"
        self.unknown: list[str] = []  # folders are no labels here
        self.broken: dict[str, str] = {}

    def contents(self, ids: Sequence[str]) -> Iterable[tuple[str, bytes | BrokenImage]]:
        return self.experiment.source.contents(ids)


@dataclass(frozen=True)
class OfStudy:
    """file: what is verified. checkpoint: the folder of the student that it was made from.

    fp32: the exported file that an int8 file stands in for, where it is there. budget: points that it may lose.
    """

    file: Path
    checkpoint: Path
    fp32: Path | None
    budget: float
    pictures: StudyPictures


def of_study(name: str, file: Path | None, data_root: Path | None, runs: Path, split: str | None) -> OfStudy:
    """The finished stages of a study that a file belongs to, by default its newest export. Nothing is built.

    The file says which student and which cleaned data it was made from; one that does not is taken for the newest.
    split: default val. Raises UserError for what is not there.
    """
    experiment = Experiment(load_study(name), (data_root or default_data_root()).resolve(), runs.resolve())
    run = experiment.workspace.folder
    file = file or run / "export" / "latest" / "student.onnx"
    made_from = metadata_of(file)
    cleaned = stage_folder(run, "clean", made_from.get("data"), "manifest.parquet")
    checkpoint = stage_folder(run, "student", made_from.get("student"), "model.json")
    pictures = pictures_of(experiment, read_manifest(cleaned / "manifest.parquet"), split or "val")
    return OfStudy(file, checkpoint, fp32_of(run, made_from), experiment.study.export.int8_budget_points, pictures)


def metadata_of(file: Path) -> dict[str, str]:
    """What the file says of itself; nothing where it is broken, which verification will tell."""
    try:
        return OnnxClassifier(file).metadata
    except BrokenFile:
        return {}


def fp32_of(run: Path, made_from: Mapping[str, str]) -> Path | None:
    """The export of the student that an int8 file says it was made from, the newest where it says none.

    None where there is no such export, and for a file that is no int8.
    """
    if made_from.get("precision") != "int8":
        return None
    exports = run / "export"
    folders = [exports / "latest", *sorted(mark.parent for mark in exports.glob(f"*/{FINISHED}"))]
    for file in (folder / "student.onnx" for folder in folders):
        if file.is_file() and made_from.get("student") in (None, metadata_of(file).get("student")):
            return file
    return None


def stage_folder(run: Path, stage: str, fingerprint: str | None, file: str) -> Path:
    """The finished stage that an ONNX file names, the newest where it names none. UserError where it is not there.

    Anybody may have written the file: what is no fingerprint would lead out of the run's folder.
    """
    if fingerprint is not None and not is_fingerprint(fingerprint):
        raise UserError(
            f"the file says that it was made from {stage} {fingerprint!r}, which is no fingerprint; export it again, "
            "or give --checkpoint and --data instead of --study"
        )
    folder = run / stage / (fingerprint or "latest")
    if not (folder / file).is_file():
        raise UserError(
            f"{folder / file} is missing, which the file was made from; run python distill/run.py, or give "
            "--checkpoint and --data instead of --study"
        )
    return folder


def pictures_of(experiment: Experiment, manifest: Manifest, split: str) -> StudyPictures:
    """All kept pictures of a split, in the order of their ids."""
    rows = manifest.of_split(split)
    if not len(rows):
        there = ", ".join(sorted(set(manifest.kept()["split"].dropna())))
        raise UserError(f"the study {experiment.study.name} has no split {split!r}; it has {there}")
    labels = {path: label for path, label in zip(rows["path"], rows["label"], strict=True) if label is not None}
    return StudyPictures(experiment, split, list(rows["path"]), labels)
