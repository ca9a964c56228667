"""The files of a study in `results/<study>/`, read once. Sections and figures are made from nothing else."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decant.errors import UserError
from decant.evaluation.tables import number, plural, read_results_table
from decant.timing.quoted import QUOTED_THREADS

Row = dict[str, str]

SPLIT_ORDER = ("test", "predict", "val", "train", "unlabelled")
REPORTED_ENGINE = "onnxruntime"
STUDENT_KINDS = ("student_onnx", "student", "student_onnx_int8")


@dataclass(frozen=True)
class ResultsFiles:
    """The files of one study; a missing file is an empty list or dict."""

    folder: Path
    study: dict[str, Any]
    provenance: dict[str, Any]
    geometry: dict[str, Any]
    class_counts: list[Row]
    clean_metrics: dict[str, Any]
    issues: list[Row]
    histories: dict[str, list[Row]]  # teacher → epochs
    student_histories: dict[str, list[Row]]  # student and student_alone → epochs
    weights: dict[str, Any]
    pooling: list[Row]
    contributions: list[Row]
    diversity: list[Row]
    choice: dict[str, Any]
    verification: dict[str, Any]
    int8: dict[str, Any]
    precision: list[Row]
    per_class: list[Row]
    comparisons: list[Row]
    reliability: list[Row]
    near_duplicates: list[Row]
    soft_labels: list[Row]
    accept: list[Row]
    students: list[Row]
    arms: list[Row]
    arm_comparisons: list[Row]
    latency: list[Row]
    latency_machine: dict[str, Any]
    effects: list[Row]  # of changes of this study's teachers, from training/effects.csv beside the study's folder

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def title(self) -> str:
        """The study's title, else its name; a folder of results may have any name."""
        return str(self.study.get("title") or self.study.get("name") or self.name)


def read_results_files(folder: Path) -> ResultsFiles:
    """Read the files below `results/<study>/`. Raises UserError for a file that cannot be read."""
    precision, latency, distillation = (
        folder / "benchmarks" / name for name in ("precision", "latency", "distillation")
    )
    return ResultsFiles(
        folder=folder,
        study=read_object(folder / "study.json"),
        provenance=read_object(folder / "provenance.json"),
        geometry=read_object(folder / "geometry.json"),
        class_counts=read_results_table(folder / "data" / "classes.csv"),
        clean_metrics=read_object(folder / "clean" / "metrics.json"),
        issues=read_results_table(folder / "clean" / "issues.csv"),
        histories=_histories(folder / "teachers"),
        student_histories=_histories(folder / "student"),
        weights=read_object(folder / "ensemble" / "weights.json"),
        pooling=_ways_that_differ(read_results_table(folder / "ensemble" / "pooling.csv")),
        contributions=read_results_table(folder / "ensemble" / "contributions.csv"),
        diversity=read_results_table(folder / "ensemble" / "diversity.csv"),
        choice=read_object(folder / "export" / "choice.json"),
        verification=read_object(folder / "export" / "verification.json"),
        int8=read_object(folder / "export" / "int8.json"),
        precision=read_results_table(precision / "metrics.csv"),
        per_class=read_results_table(precision / "per_class.csv"),
        comparisons=read_results_table(precision / "comparisons.csv"),
        reliability=read_results_table(precision / "reliability.csv"),
        near_duplicates=read_results_table(precision / "near_duplicates.csv"),
        soft_labels=read_results_table(precision / "soft_labels.csv"),
        accept=read_results_table(precision / "accept.csv"),
        students=read_results_table(folder / "benchmarks" / "students" / "metrics.csv"),
        arms=read_results_table(distillation / "metrics.csv"),
        arm_comparisons=read_results_table(distillation / "comparisons.csv"),
        latency=read_results_table(latency / "metrics.csv"),
        latency_machine=read_object(latency / "machine.json"),
        effects=[
            row for row in read_results_table(folder.parent / "training" / "effects.csv") if row["study"] == folder.name
        ],
    )


def _ways_that_differ(pooling: list[Row]) -> list[Row]:
    """The rows of pooling.csv; none for a single teacher, because all ways of pooling then give the same."""
    return pooling if sum(row["kind"] == "teacher" for row in pooling) > 1 else []


def _histories(folder: Path) -> dict[str, list[Row]]:
    """Name of a network -> its epochs; a table without epochs is left out."""
    tables = {path.stem: read_results_table(path) for path in sorted(folder.glob("*.csv"))}
    return {name: rows for name, rows in tables.items() if rows and "epoch" in rows[0]}


def image_count(results: ResultsFiles) -> int:
    """The number of images that cleaning kept in all splits; 0 if `data/classes.csv` is missing."""
    return sum(int(row["images"]) for row in results.class_counts)


def images_text(results: ResultsFiles) -> str:
    """ "5,682 images of 49 classes and 2,456 images without a label": the images that cleaning kept."""
    classes = {row["class"] for row in results.class_counts if row["class"]}
    labelled = sum(int(row["images"]) for row in results.class_counts if row["class"])
    others = image_count(results) - labelled
    text = f"{plural(labelled, 'image')} of {plural(len(classes), 'class', 'classes')}"
    return f"{text} and {plural(others, 'image')} without a label" if others else text


def pooled_teachers(results: ResultsFiles) -> tuple[list[str], list[str]]:
    """The teachers whose weight in the ensemble is above zero, and the others."""
    weights = results.weights.get("teachers", {})
    names = list(results.study.get("teachers", {}))
    left_out = [name for name in names if name in weights and not weights[name]["weight"]]
    return [name for name in names if name not in left_out], left_out


def chosen_text(results: ResultsFiles) -> str:
    """Sentences on what was chosen, on which split and by which measure."""
    metric = str(results.study["metric"]).replace("_", " ")
    text = f"Models, their weights and thresholds were chosen on val, by {metric}, precision or likelihood"
    if "out of fold on train and val" in str(results.geometry.get("why")):
        text += "; the shape of the inputs by probes on train and val"
    return f"{text}. Nothing was chosen on test."


def main_split(results: ResultsFiles) -> str:
    """The split of the headline: the first scored split in SPLIT_ORDER, else the first by name; "" if there is none."""
    splits = {row["split"] for row in results.precision}
    known = [split for split in SPLIT_ORDER if split in splits]
    return (known or sorted(splits) or [""])[0]


def of_kind(results: ResultsFiles, kind: str, split: str) -> Row | None:
    """The precision row of a kind on a split, or None."""
    rows = [row for row in results.precision if row["kind"] == kind and row["split"] == split]
    return rows[0] if rows else None


def best_teacher(results: ResultsFiles, split: str, among: Sequence[str] | None = None) -> Row | None:
    """The row on `split` of the teacher that is best on val by the study's metric, without test-time augmentation.

    If val was not scored, the teacher that is best on `split` itself, which favours the teacher. among: these teachers
    alone; None: all.
    """
    teachers = [row for row in plain_teachers(results) if among is None or row["model"] in among]
    metric = results.study.get("metric", "accuracy")
    chosen_on = [row for row in teachers if row["split"] == "val"] or [r for r in teachers if r["split"] == split]
    for row in sorted(chosen_on, key=lambda row: -number(row.get(metric))):
        rows = [other for other in teachers if other["model"] == row["model"] and other["split"] == split]
        if rows:
            return rows[0]
    return None


def plain_teachers(results: ResultsFiles) -> list[Row]:
    """The rows of teachers without test-time augmentation, on any split."""
    return [row for row in results.precision if row["kind"] == "teacher" and not row["model"].endswith("_tta")]


def most_accurate_teacher(results: ResultsFiles, split: str) -> Row | None:
    """The row on `split` of the teacher, with or without test-time augmentation, with the highest accuracy on val.

    If val was not scored, on `split` itself, which favours the teacher.
    """
    teachers = [row for row in results.precision if row["kind"] == "teacher"]
    chosen_on = [row for row in teachers if row["split"] == "val"] or [row for row in teachers if row["split"] == split]
    best = max(chosen_on, key=lambda row: number(row["accuracy"]), default=None)
    rows = [row for row in teachers if best and row["model"] == best["model"] and row["split"] == split]
    return rows[0] if rows else None


def reported_latency(results: ResultsFiles, model: str) -> Row | None:
    """The latency row that reports quote: batch size 1, 2 threads, with preprocessing, in ONNX Runtime.

    This is how the exported file is used. If there is no such row, the row with the smallest batch, the most threads,
    the bare graph and the fastest engine, in this order of preference.
    """
    rows = [row for row in results.latency if row["model"] == model]

    def preference(row: Row) -> tuple[float, bool, float, bool, bool, float]:
        return (
            number(row["batch_size"]),
            row["threads"] != str(QUOTED_THREADS),
            -number(row["threads"]),
            row["graph"] != "full",
            row["engine"] != REPORTED_ENGINE,
            number(row["p50_ms"]),
        )

    return min(rows, key=preference) if rows else None


def student_row(results: ResultsFiles, split: str) -> Row | None:
    """The row of the ONNX file, else of the student in PyTorch, else of the int8 file; None without any."""
    rows = [of_kind(results, kind, split) for kind in STUDENT_KINDS]
    return next((row for row in rows if row), None)


HEADLINE_MODELS: dict[str, Callable[[ResultsFiles, str], Row | None]] = {
    "best teacher": best_teacher,
    "ensemble": lambda results, split: of_kind(results, "ensemble", split),
    "student alone": lambda results, split: of_kind(results, "student_alone", split),
    "ONNX file": student_row,
}


def owner(results: ResultsFiles) -> str:
    """Whose network is exported: "student" or "twin"."""
    return "twin" if results.choice.get("shipped") == "student_alone" else "student"


def confusion_rows(results: ResultsFiles, model: str) -> list[Row]:
    """The model's confusion matrix: a row per label with the column `target` and one per predicted class; or []."""
    return read_results_table(results.folder / "benchmarks" / "precision" / f"confusion_{model}.csv")


def int8_is_offered(results: ResultsFiles) -> bool:
    """True if the int8 file is offered, or if no decision was recorded."""
    return bool(results.int8.get("offered", True))


def headline_rows(results: ResultsFiles, split: str) -> list[Row]:
    """The rows of HEADLINE_MODELS in that order; models without a row are left out."""
    rows = [find(results, split) for find in HEADLINE_MODELS.values()]
    return [row for row in rows if row]


def comparable(row: Row, other: Row) -> bool:
    """True if two latency rows were measured under the same conditions."""
    return all(row[column] == other[column] for column in ("graph", "batch_size", "threads"))


def splits_in_order(names: Sequence[str]) -> list[str]:
    """Distinct split names in the order of the flow; unknown names follow in alphabetical order."""
    known = ("train", "val", "test", "predict", "unlabelled")
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, {} if the file does not exist. Raises UserError if the file contains anything else."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); run the stage again that writes this file") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UserError(f"{path}: expected a JSON object, not {kind}; run the stage again that writes this file")
    return content


def transductive_text(results: ResultsFiles) -> str:
    """A sentence on which student learned from the images to predict, for a study that is transductive."""
    which = "refitted student, the submissions' model," if results.study.get("final") == "refit" else "student"
    return f"The {which} was also trained on the teachers' soft labels of the images to predict."


def size_of(results: ResultsFiles, network: str) -> str:
    """The size of the input of a teacher or of the student, as in tables."""
    sizes = results.geometry.get("input_px", {})
    study = results.study
    settings = study.get("student") if network == "student" else study.get("teachers", {}).get(network)
    return str(sizes.get(network) or (settings or {}).get("input_px", "–"))


def in_first_and_last_epoch(value: Any) -> tuple[float, float]:
    """The first and last value of a setting that is one number or a pair."""
    return (value[0], value[1]) if isinstance(value, list) else (value, value)
