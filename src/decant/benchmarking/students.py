"""Students of several architectures, distilled from the same soft labels: accuracy, speed and size."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decant.data.manifest import dependent_groups, read_manifest
from decant.data.preprocessing import size_text
from decant.errors import UserError
from decant.evaluation.metrics import precision_row
from decant.models.checkpoint import load_checkpoint
from decant.stages.int8 import FILE as INT8_FILE
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import labelled_predictions, typical_size
from decant.stages.support.resolve import stage_result
from decant.study_files import read_yaml
from decant.timing.models import file_mb, measure_candidates, network_cost, onnx_candidate, value_of
from decant.timing.process import Inputs as TimedInputs
from decant.timing.quoted import QUOTED_THREADS
from decant.workspace import record_of

log = logging.getLogger(__name__)
STUDENT_COLUMNS = (
    "student", "architecture", "init", "input_px", "parameters_millions", "gmacs", "epochs", "train_s",
    "val_accuracy", "accuracy", "accuracy_low", "accuracy_high", "p50_ms", "file_mb",
    "int8_val_accuracy", "int8_accuracy", "int8_p50_ms", "int8_file_mb",
)  # fmt: skip


def read_students(path: Path) -> dict[str, dict[str, Any]]:
    """Student -> its own values for keys of `student`. Raises UserError for a file of another form."""
    content = read_yaml(path)
    for name, keys in content.items():
        if not isinstance(keys, dict):
            raise UserError(f"{path}: {name} must be a mapping of keys of student to values, {{}} for the study's own")
        if {"recipe", "views"} & set(keys):
            raise UserError(f"{path}: {name} changes recipe or views; all students see the stored views of the study")
    return {str(name): keys for name, keys in content.items()}


def overrides(keys: Mapping[str, Any]) -> list[str]:
    """A student as `key=value` words for the study. It is exported in any case; its twin is not trained."""
    return [
        "export.ship=student",
        "export.int8=true",
        "student.mode=replay",
        *(f"student.{key}={json.dumps(keys[key])}" for key in keys),
    ]


def student_row(experiment: Experiment, name: str) -> dict[str, object]:
    """Train and export a student; a row of `students/metrics.csv` without times, which are None."""
    trained = stage_result(experiment, "student").folder
    checkpoint, student = load_checkpoint(trained), experiment.study.student
    millions, gmacs = network_cost(trained)
    row: dict[str, object] = dict.fromkeys(STUDENT_COLUMNS)
    row |= {
        "student": name,
        "architecture": student.architecture,
        "init": checkpoint.card["weights"],
        "input_px": size_text(checkpoint.preprocessing.input_px),
        "parameters_millions": millions,
        "gmacs": gmacs,
        "epochs": student.epochs,
        "train_s": record_of(trained)["seconds"],
    }
    for dtype, file in files_of(experiment).items():
        prefix = "" if dtype == "fp32" else f"{dtype}_"
        val, test = (split_scores(experiment, file.parent / "predictions", split) for split in ("val", "test"))
        row |= {f"{prefix}val_accuracy": val["accuracy"], f"{prefix}accuracy": test["accuracy"]}
        row[f"{prefix}file_mb"] = file_mb(file)
        if not prefix:
            row |= {key: test[key] for key in ("accuracy_low", "accuracy_high")}
    return row


def split_scores(experiment: Experiment, predictions: Path, split: str) -> dict[str, object]:
    """The row of the precision table for the predictions in a folder."""
    manifest = read_manifest(stage_result(experiment, "clean").folder)
    log_probabilities, _, targets = labelled_predictions(manifest, predictions, split)
    groups = dependent_groups(manifest.of_split(split))
    return precision_row("student", "student", split, log_probabilities, targets, groups=groups)


def files_of(experiment: Experiment) -> dict[str, Path]:
    """Number format -> file: fp32, and int8 if that file passes its checks."""
    files = {"fp32": stage_result(experiment, "export").folder / "student.onnx"}
    try:
        files["int8"] = stage_result(experiment, "int8").folder / INT8_FILE
    except UserError as error:
        log.warning("no int8 file: %s", error)
    return files


def with_times(rows: Sequence[dict[str, object]], experiments: Mapping[str, Experiment]) -> list[dict[str, object]]:
    """The rows with the median time per image of both files: all files are timed in turns, in fresh processes."""
    candidates = []
    for name, experiment in experiments.items():
        manifest = read_manifest(stage_result(experiment, "clean").folder)
        trained = stage_result(experiment, "student").folder
        inputs = TimedInputs("full", load_checkpoint(trained).preprocessing.input_px, *typical_size(manifest))
        for dtype, file in files_of(experiment).items():
            candidates.append(onnx_candidate(f"{name}/{dtype}", "student_onnx", file, inputs, trained, dtype))
    benchmark = next(iter(experiments.values())).study.benchmark
    timed_rows = measure_candidates(
        candidates, [1], [QUOTED_THREADS], benchmark.latency_calls, rounds=benchmark.latency_rounds
    )
    times = {str(row["model"]): value_of(row, "p50_ms") for row in timed_rows}
    return [
        {**row, "p50_ms": times[f"{row['student']}/fp32"], "int8_p50_ms": times.get(f"{row['student']}/int8")}
        for row in rows
    ]
