"""The small results of a study, gathered below its runs and, on demand, published into results/<study>.

Not a stage: nothing reads what it gathers, and it is gathered again by each run.
"""

import csv
import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from decant import machine
from decant.data.geometry_choice import described
from decant.data.manifest import Manifest, read_manifest
from decant.data.predictions import read_predictions
from decant.data.preprocessing import size_text
from decant.data.sources.tables import read_table
from decant.errors import UserError
from decant.evaluation.metrics import class_count_rows
from decant.evaluation.tables import plural, write_results_table
from decant.processes import launched
from decant.reporting.figures import render_figures
from decant.reporting.pictures import FOLDER as PICTURES
from decant.reporting.report import APPENDIX, REPORT, write_report
from decant.reporting.root_report import write_readme, write_root_report
from decant.stages import STUDENTS
from decant.stages.shipped import CHOICE
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.experiment import Experiment, git
from decant.stages.support.input_geometry import chosen_geometry
from decant.stages.support.mistakes import study_mistakes
from decant.stages.support.onnx_predictions import CARD
from decant.stages.support.pictures import write_pictures
from decant.stages.support.provenance import PROVENANCE, command, digest, short_path
from decant.stages.support.resolve import stage_result
from decant.study import documented
from decant.study_files import ROOT
from decant.workspace import StageResult, record_of, replacing, write_json

log = logging.getLogger(__name__)
MISTAKES = "mistakes.html"  # contains images, as the pictures do
OWNED = (  # a study's folder may contain tables of other benchmarks too
    "*.json", "submission*.csv", REPORT, APPENDIX, MISTAKES, f"{PICTURES}/*.jpg", "data/*.*", "clean/*.*",
    "teachers/*.*", "student/*.*", "ensemble/*.*", "export/*.*", "benchmarks/precision/*.*", "benchmarks/latency/*.*",
)  # fmt: skip
REFITTED = ("refit_ensemble", "refit_predictions/student")  # whose predictions are handed in, with `final: refit`
MAX_ISSUES = 2000  # per type
PRECISION_FILES = (
    "metrics.csv", "per_class.csv", "comparisons.csv", "reliability.csv", "near_duplicates.csv", "accept.csv",
)  # fmt: skip


def published_folder(experiment: Experiment) -> Path:
    """results/<study>, the folder that `publish` writes.

    Every study may be published into a results folder outside the checkout. Raises UserError for a study that publishes
    nothing, and for one that differs from its committed file.
    """
    study = experiment.study
    if not study.publish:
        raise UserError(f"--publish: the study {study.name} sets publish: false; set it to true or omit --publish")
    if not experiment.as_committed:
        raise UserError(
            f"--publish: {study.name} was changed with --set, or its files are not committed; commit them and run "
            "again, or give a folder outside the checkout as --results"
        )
    return experiment.results / study.name


def publish(experiment: Experiment, study_files: list[Path]) -> Path:
    """Gather the results and copy them into results/<study>; return that folder.

    In the checkout the root REPORT.md and the README's block of results are written again too. Raises UserError as
    `published_folder` does.
    """
    folder = published_folder(experiment)
    gathered = gather(experiment, study_files)
    if launched().leads:
        copy_published(experiment, gathered, folder)
    launched().wait()
    return folder


def copy_published(experiment: Experiment, gathered: Path, folder: Path) -> None:
    """Replace the published files by the gathered ones, and in the checkout write the root report and the README."""
    remove_earlier_files(folder)
    for path in owned_files(gathered):
        shows_images = path.name == MISTAKES or path.parent.name == PICTURES
        if not shows_images or experiment.study.data.may_be_shared:
            copy(path, folder / path.relative_to(gathered))
    write_report(folder, folder / REPORT)  # with the tables of other benchmarks
    if folder.parent == ROOT / "results":
        write_root_report(folder.parent, ROOT / "REPORT.md")
        write_readme(ROOT / "README.md", folder.parent)


def gather(experiment: Experiment, study_files: list[Path]) -> Path:
    """Copy the stages' small results, draw the figures and write the report; return runs/<study>/results."""
    folder = experiment.workspace.folder / "results"
    results = {name: stage_result(experiment, name) for name in published_stages(experiment)}
    pixels = stage_result(experiment, "pixels")
    if launched().leads:
        write_results(experiment, study_files, results, pixels, folder)
    launched().wait()
    return folder


def write_results(
    experiment: Experiment,
    study_files: list[Path],
    results: Mapping[str, StageResult],
    pixels: StageResult,
    folder: Path,
) -> None:
    """Write everything that `gather` collects."""
    remove_earlier_files(folder)
    copy_stage_files(experiment, results, folder)
    manifest = read_manifest(results["clean"].folder)
    write_class_counts(manifest, folder / "data" / "classes.csv")
    write_submissions(experiment, manifest, results, folder)
    write_mistakes(experiment, manifest, results, folder / MISTAKES)
    write_pictures(experiment, manifest, results, pixels, folder)
    write_json(folder / "study.json", documented(experiment.study))
    write_json(folder / "geometry.json", geometry_of(experiment, results["clean"]))
    write_json(folder / PROVENANCE, provenance(experiment, study_files, list(results.values())))
    render_figures(folder)
    write_report(folder, folder / REPORT)


def geometry_of(experiment: Experiment, cleaned: StageResult) -> dict[str, Any]:
    """The study's input geometry, why it was chosen, and the size of each network's input as in tables."""
    chosen, study = chosen_geometry(experiment, cleaned), experiment.study
    sides = {**{name: teacher.input_px for name, teacher in study.teachers.items()}, "student": study.student.input_px}
    return {
        "fit": chosen.geometry.fit,
        "aspect": chosen.geometry.aspect,
        "description": described(chosen.geometry),
        "why": chosen.why,
        "input_px": {name: size_text(chosen.geometry.input_px(side)) for name, side in sides.items()},
    }


def published_stages(experiment: Experiment) -> list[str]:
    """The stages whose files are published, in the order of the flow."""
    teachers = [f"teachers/{name}" for name in experiment.study.teachers]
    exported = ["shipped", "export", "int8"] if experiment.study.export.int8 else ["shipped", "export"]
    benchmarks = ["benchmarks/precision", "benchmarks/latency"]
    measured = ["clean", *teachers, "ensemble", *STUDENTS, *exported, *benchmarks]
    return [*measured, *REFITTED] if experiment.study.final == "refit" else measured


def copy_stage_files(experiment: Experiment, results: Mapping[str, StageResult], folder: Path) -> None:
    """Copy what is published of each stage."""
    copy(results["clean"].folder / "metrics.json", folder / "clean" / "metrics.json")
    publish_issues(results["clean"].folder / "issues.csv", folder / "clean" / "issues.csv")
    for name in experiment.study.teachers:
        history = model_folders(results[f"teachers/{name}"].folder)[0] / "history.csv"
        if history.is_file():
            copy(history, folder / "teachers" / f"{name}.csv")
    for name in STUDENTS:
        copy(results[name].folder / "history.csv", folder / "student" / f"{name}.csv")
    for path in (results["ensemble"].folder / "weights.json", *results["ensemble"].folder.glob("*.csv")):
        copy(path, folder / "ensemble" / path.name)
    copy(results["shipped"].folder / CHOICE, folder / "export" / CHOICE)
    for name in ("verification.json", CARD):
        copy(results["export"].folder / name, folder / "export" / name)
    if "int8" in results:
        copy(results["int8"].folder / "int8.json", folder / "export" / "int8.json")
    precision, latency = results["benchmarks/precision"].folder, results["benchmarks/latency"].folder
    further = [path.name for pattern in ("confusion_*.csv", "soft_labels.csv") for path in precision.glob(pattern)]
    for name in (*PRECISION_FILES, *further):
        copy(precision / name, folder / "benchmarks" / "precision" / name)
    for name in ("metrics.csv", "machine.json"):
        copy(latency / name, folder / "benchmarks" / "latency" / name)


def write_mistakes(experiment: Experiment, manifest: Manifest, results: Mapping[str, StageResult], path: Path) -> None:
    """Write the page of the exported file's mistakes on test; none without a test split."""
    if len(manifest.of_split("test")):
        page = study_mistakes(
            experiment, manifest, results["export"].folder / "predictions", results["ensemble"].folder
        )
        with replacing(path) as partial:
            partial.write_text(page, encoding="utf-8")


def write_class_counts(manifest: Manifest, path: Path) -> None:
    kept = manifest.kept()
    counts = class_count_rows(list(kept["split"]), list(kept["label"]))
    write_results_table(counts, path)


def write_submissions(
    experiment: Experiment, manifest: Manifest, results: Mapping[str, StageResult], folder: Path
) -> None:
    """Write a submission of the ensemble and one of the student, if there are images to predict.

    With `final: refit` they are those of the refitted teachers and of the refitted student.
    """
    if not len(manifest.of_split("predict")):
        return
    warn_of_unreadable(manifest, folder / "clean" / "issues.csv")
    sample = experiment.source.sample_submission()
    limited = experiment.study.data.limit is not None
    folders = [results["ensemble"].folder, results["export"].folder / "predictions"]
    if experiment.study.final == "refit":
        folders = [results[name].folder for name in REFITTED]
    for file, predictions in zip(("submission.csv", "submission_student.csv"), folders, strict=True):
        write_submission(folder / file, manifest, predictions, sample, limited, experiment.study.data.class_names)


def warn_of_unreadable(manifest: Manifest, issues: Path) -> None:
    """Log a warning if images to predict cannot be read: how many, their answer, and the table that lists them."""
    rows = unreadable(manifest)
    if len(rows):
        log.warning(
            "%s to predict cannot be read, for example %s. The submissions give the most frequent class of train, %r, "
            "for each; %s lists them as broken",
            plural(len(rows), "image"), rows["path"].iloc[0], commonest_class(manifest), issues,
        )  # fmt: skip


def unreadable(manifest: Manifest) -> pd.DataFrame:
    """The rows to predict that were set aside, because they cannot be decoded."""
    return manifest.rows[(manifest.rows["split"] == "predict") & (manifest.rows["action"] == "drop")]


def commonest_class(manifest: Manifest) -> str:
    """The most frequent class of train, the answer for an image that cannot be read; the first by name of several."""
    return str(manifest.of_split("train")["label"].mode()[0])


def remove_earlier_files(folder: Path) -> None:
    """Remove the files that an earlier run wrote, so that no stale file is read."""
    for path in owned_files(folder):
        path.unlink()


def owned_files(folder: Path) -> list[Path]:
    """The files of a results folder that this module writes."""
    return sorted({path for pattern in OWNED for path in folder.glob(pattern)})


def copy(source: Path, target: Path) -> None:
    with replacing(target) as partial:
        shutil.copyfile(source, partial)


def publish_issues(source: Path, target: Path) -> None:
    """Keep the MAX_ISSUES highest-scoring issues per type; the stage has sorted them by score."""
    issues = pd.read_csv(source, dtype=str, keep_default_na=False)
    with replacing(target) as partial:
        issues.groupby("issue", sort=False).head(MAX_ISSUES).to_csv(partial, index=False, lineterminator="\n")


def write_submission(
    path: Path,
    manifest: Manifest,
    predictions: Path,
    sample: bytes | None,
    limited: bool = False,
    class_names: Mapping[str, str] | None = None,
) -> None:
    """Write file name and class name of each image to predict, in the sample's order and columns if there is one.

    predictions: folder of a model's predictions. An image that cannot be read gets the most frequent class of train.
    class_names: `data.class_names`; the submission has the names of the source, the first if several were merged.
    limited: only some images were predicted (`data.limit`); the sample's other images are left out. Raises UserError if
    the sample names an image that is missing, or two images by one name, and if two images have the same name.
    """
    source_name = {label: name for name, label in reversed(list((class_names or {}).items()))}
    label_of = {name: source_name.get(label, label) for name, label in submitted_labels(manifest, predictions).items()}
    header, ids = ["id", "label"], sorted(label_of)
    if sample is not None:
        header, ids = sample_rows(sample)
    stems = {Path(name).stem: label for name, label in label_of.items()}
    stem_counts = Counter(Path(name).stem for name in label_of)
    ambiguous = [id_ for id_ in ids if id_ not in label_of and stem_counts[id_] > 1]
    if ambiguous:
        raise UserError(
            f"the sample submission names {ambiguous[0]}, and {stem_counts[ambiguous[0]]} images to predict have this "
            "name with different endings. Rename all but one, or write the endings in the sample submission."
        )
    missing = [id_ for id_ in ids if id_ not in label_of and id_ not in stems]
    if limited:
        ids = [id_ for id_ in ids if id_ not in missing]
    elif missing:
        raise UserError(
            f"the sample submission names {plural(len(missing), 'missing image')}, first {missing[0]}. Add them to the "
            "images to predict, or remove their rows from the sample submission."
        )
    rows = [[id_, label_of.get(id_) or stems[id_]] for id_ in ids]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def submitted_labels(manifest: Manifest, predictions: Path) -> dict[str, str]:
    """File name -> class name of every image to predict, unreadable ones included."""
    rows = manifest.of_split("predict")
    predicted = read_predictions(predictions, "predict").aligned(list(rows["id"])).members["identity"].argmax(axis=1)
    labels = [(Path(path).name, manifest.classes[index]) for path, index in zip(rows["path"], predicted, strict=True)]
    if len(broken := unreadable(manifest)):
        most_frequent = commonest_class(manifest)
        labels += [(Path(name).name, most_frequent) for name in broken["path"]]
    names = [name for name, _ in labels]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UserError(f"two images to predict are called {repeated}: a submission cannot tell them apart; rename one")
    return dict(labels)


def sample_rows(sample: bytes) -> tuple[list[str], list[str]]:
    """The two column names and the ids of a sample submission. Raises UserError if it has other columns or no row."""
    table = read_table(sample, "the sample submission")
    if not table or len(table[0]) != 2:
        raise UserError("the sample submission must have two columns, id and label, and at least one row")
    header = list(table[0])
    return header, [row[header[0]] for row in table]


def provenance(experiment: Experiment, study_files: list[Path], stages: list[StageResult]) -> dict[str, Any]:
    """What the numbers were made from: commit, files, data, packages, machine and command."""
    lock = ROOT / "requirements.lock"
    return {
        "commit": git("rev-parse", "HEAD"),
        "stages_built_by": stages_built_by(stages),
        "seconds": {name: record_of(stage.folder)["seconds"] for name, stage in experiment.workspace.used.items()},
        "study_files": {short_path(str(path.resolve())): digest(path.read_bytes()) for path in study_files},
        "lock_digest": digest(lock.read_bytes()) if lock.is_file() else None,
        "data_digest": experiment.data_digest,
        "command": command(),
        "weights": weights_taken(experiment, stages),
        "machine": machine.description(),
    }


def stages_built_by(stages: list[StageResult]) -> dict[str, list[str]]:
    """Commit (with a + for a changed checkout) -> the stages that its code built."""
    built: dict[str, list[str]] = {}
    for stage in stages:
        built.setdefault(record_of(stage.folder)["code"], []).append(stage.name)
    return built


def weights_taken(experiment: Experiment, stages: list[StageResult]) -> dict[str, str]:
    """Teacher -> the weight source that its network started from."""
    folders = {stage.name: model_folders(stage.folder)[0] for stage in stages if stage.name.startswith("teachers/")}
    cards = {name: json.loads((folder / "model.json").read_text(encoding="utf-8")) for name, folder in folders.items()}
    return {name.partition("/")[2]: content["card"]["weights"] for name, content in cards.items()}
