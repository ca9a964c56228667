"""Publication: the small results of a study, gathered into results/<study>, with where it comes from."""

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from decant import machine
from decant.data.manifest import Manifest
from decant.data.predictions import read_predictions
from decant.data.sources.base import read_table
from decant.errors import UserError
from decant.evaluation.metrics import class_count_rows
from decant.evaluation.tables import write_results_table
from decant.reporting.figures import render_figures
from decant.reporting.report import write_readme, write_report, write_root_report
from decant.stages.clean import clean
from decant.stages.ensemble import ensemble
from decant.stages.export import export
from decant.stages.int8 import int8
from decant.stages.latency import latency
from decant.stages.precision import precision
from decant.stages.student import student, student_alone
from decant.stages.support.experiment import Experiment, git
from decant.stages.support.onnx_predictions import CARD
from decant.stages.support.provenance import PROVENANCE, command, digest, short_path
from decant.stages.support.training_data import read_cleaned
from decant.stages.teacher import models_of, teacher
from decant.study import ROOT
from decant.workspace import FINISHED, StageResult, replacing, write_json

log = logging.getLogger(__name__)
OWNED = ("*.json", "submission*.csv", "REPORT.md", "*/*.csv", "*/*.json", "*/*.png", "*/*.md", "benchmarks/*/*.*")
PUBLISHED_FINDINGS = 2000  # of each kind
PRECISION_FILES = (
    "metrics.csv", "per_class.csv", "comparisons.csv", "reliability.csv", "near_duplicates.csv", "soft_labels.csv",
)  # fmt: skip


def results_folder(experiment: Experiment) -> Path:
    """results/<study> for a study as committed, else a folder below its runs: a variant publishes nothing.

    A results folder outside the checkout is the caller's own, and takes every study.
    """
    study = experiment.study
    if study.publish and experiment.as_committed:
        return experiment.results / study.name
    return experiment.workspace.folder / "results"


def publish(experiment: Experiment, study_files: list[Path]) -> Path:
    """Gather tables, pictures, submissions and the report; returns the study's results folder."""
    folder = results_folder(experiment)
    manifest = read_cleaned(experiment)
    cleaned, combined, exported = clean(experiment), ensemble(experiment), export(experiment)
    scored, timed = precision(experiment), latency(experiment)
    teachers = {name: teacher(experiment, name) for name in experiment.study.teachers}
    students = [student(experiment), student_alone(experiment)]
    stages = [cleaned, *teachers.values(), combined, *students, exported, scored, timed]
    forget(folder)
    copy(cleaned.folder / "metrics.json", folder / "clean" / "metrics.json")
    publish_issues(cleaned.folder / "issues.csv", folder / "clean" / "issues.csv")
    for name, trained in teachers.items():
        history = models_of(trained)[0] / "history.csv"
        if history.is_file():
            copy(history, folder / "teachers" / f"{name}.csv")
    copy(combined.folder / "weights.json", folder / "ensemble" / "weights.json")
    for name in ("verification.json", CARD):
        copy(exported.folder / name, folder / "export" / name)
    if experiment.study.export.int8:
        quantised = int8(experiment)
        stages.append(quantised)
        copy(quantised.folder / "int8.json", folder / "export" / "int8.json")
    for name in (*PRECISION_FILES, *(path.name for path in scored.folder.glob("confusion_*.csv"))):
        copy(scored.folder / name, folder / "benchmarks" / "precision" / name)
    for name in ("metrics.csv", "machine.json"):
        copy(timed.folder / name, folder / "benchmarks" / "latency" / name)
    kept = manifest.kept()
    shown = experiment.study.data.class_names
    counts = class_count_rows(list(kept["split"]), [shown.get(label, label) for label in kept["label"]])
    write_results_table(counts, folder / "data" / "classes.csv")
    if len(manifest.of_split("predict")):
        sample = experiment.source.sample_submission()
        for file, place in (
            ("submission.csv", combined.folder),
            ("submission_student.csv", exported.folder / "predictions"),
        ):
            write_submission(folder / file, manifest, place, sample, partial=experiment.study.data.limit is not None)
    write_json(folder / "study.json", experiment.study.model_dump(mode="json"))
    write_json(folder / PROVENANCE, provenance(experiment, study_files, stages))
    render_figures(folder)
    write_report(folder, folder / "REPORT.md")
    if folder.parent == ROOT / "results":
        write_root_report(folder.parent, ROOT / "REPORT.md")
        write_readme(ROOT / "README.md", folder.parent)
    return folder


def forget(folder: Path) -> None:
    """Remove what an earlier run published, so that nothing stale is read; only files that scripts write."""
    for pattern in OWNED:
        for path in folder.glob(pattern):
            path.unlink()


def copy(source: Path, target: Path) -> None:
    with replacing(target) as beside:
        shutil.copyfile(source, beside)


def publish_issues(source: Path, target: Path) -> None:
    """The surest findings of each kind, as `clean` has sorted them: a large data set has more than anybody reads."""
    issues = pd.read_csv(source, dtype=str, keep_default_na=False)
    with replacing(target) as beside:
        issues.groupby("issue", sort=False).head(PUBLISHED_FINDINGS).to_csv(beside, index=False, lineterminator="\n")


def write_submission(path: Path, manifest: Manifest, place: Path, sample: bytes | None, partial: bool = False) -> None:
    """One row a photo to predict: file name and class name, in the sample's order and columns if there is one.

    A photo that could not be read gets the class that train has most of. partial: only some photos were asked about
    (`data.limit`), and the sample's others are left out. Raises UserError where else the sample names a photo that is
    not there, and where two photos have one name.
    """
    label_of = submitted_labels(manifest, place)
    header, ids = ["id", "label"], sorted(label_of)
    if sample is not None:
        header, ids = sample_rows(sample)
    stems = {Path(name).stem: label for name, label in label_of.items()}
    missing = [id_ for id_ in ids if id_ not in label_of and id_ not in stems]
    if partial:
        ids = [id_ for id_ in ids if id_ not in missing]
    elif missing:
        raise UserError(f"the sample submission names {len(missing)} photos that are not there, first {missing[0]}")
    rows = [[id_, label_of.get(id_) or stems[id_]] for id_ in ids]
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def submitted_labels(manifest: Manifest, place: Path) -> dict[str, str]:
    """File name -> class name of every photo to predict, unreadable ones included."""
    rows = manifest.of_split("predict")
    answers = read_predictions(place, "predict").aligned(list(rows["id"])).members["identity"].argmax(axis=1)
    labels = [(Path(path).name, manifest.classes[answer]) for path, answer in zip(rows["path"], answers, strict=True)]
    unreadable = manifest.rows[(manifest.rows["split"] == "predict") & (manifest.rows["action"] == "drop")]
    if len(unreadable):
        commonest = str(manifest.of_split("train")["label"].mode()[0])
        log.warning("%d photos to predict cannot be read and get %r", len(unreadable), commonest)
        labels += [(Path(name).name, commonest) for name in unreadable["path"]]
    names = [name for name, _ in labels]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"two photos to predict are called {twice}; a submission cannot tell them apart: rename one")
    return dict(labels)


def sample_rows(sample: bytes) -> tuple[list[str], list[str]]:
    """The two column names and the ids of a sample submission."""
    table = read_table(sample, "the sample submission")
    if not table or len(table[0]) != 2:
        raise UserError("the sample submission must have two columns, id and label, and at least one row")
    header = list(table[0])
    return header, [row[header[0]] for row in table]


def provenance(experiment: Experiment, study_files: list[Path], stages: list[StageResult]) -> dict[str, Any]:
    """What the numbers come from: commit, files, data, packages, machine and command."""
    lock = ROOT / "requirements.lock"
    return {
        "commit": git("rev-parse", "HEAD"),
        "stages_built_by": stages_built_by(stages),
        "seconds": {name: record_of(stage)["seconds"] for name, stage in experiment.workspace.used.items()},
        "study_files": {short_path(str(path.resolve())): digest(path.read_bytes()) for path in study_files},
        "lock_digest": digest(lock.read_bytes()) if lock.is_file() else None,
        "data_digest": experiment.source.digest(),
        "command": command(),
        "weights": weights_taken(experiment),
        "machine": machine.description(),
    }


def stages_built_by(stages: list[StageResult]) -> dict[str, list[str]]:
    """Commit (with a + for a changed checkout) -> the stages that its code built."""
    built: dict[str, list[str]] = {}
    for stage in stages:
        built.setdefault(record_of(stage)["code"], []).append(stage.name)
    return built


def record_of(stage: StageResult) -> dict[str, Any]:
    """What the workspace wrote down when the stage was finished."""
    record: dict[str, Any] = json.loads((stage.folder / FINISHED).read_text(encoding="utf-8"))
    return record


def weights_taken(experiment: Experiment) -> dict[str, str]:
    """Which weight source each teacher's network started from."""
    places = {name: models_of(teacher(experiment, name))[0] for name in experiment.study.teachers}
    return {name: json.loads((place / "model.json").read_text())["card"]["weights"] for name, place in places.items()}
