"""Stage benchmarks/latency: how long each model takes here, in fresh processes, without test-time augmentation."""

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from decant import machine
from decant.evaluation.tables import write_results_table
from decant.export.student import export_student
from decant.models.checkpoint import load_checkpoint
from decant.stages.ensemble import active_teachers, ensemble, read_weights
from decant.stages.export import export
from decant.stages.int8 import FILE as INT8_FILE
from decant.stages.int8 import int8
from decant.stages.student import student
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import typical_picture
from decant.stages.support.training_data import read_cleaned
from decant.stages.teacher import models_of, teacher
from decant.timing.models import (
    LATENCY_COLUMNS,
    Candidate,
    ensemble_rows,
    in_onnx_engines,
    measure_candidates,
    onnx_candidate,
    torch_candidate,
)
from decant.timing.process import Inputs
from decant.workspace import StageResult, write_json

log = logging.getLogger(__name__)
VERSION = 5  # 5: PyTorch's threads wait as its users' do; 4: each process's median, 200 calls of large batches


def latency(experiment: Experiment) -> StageResult:
    """`metrics.csv` and `machine.json`. Teachers are exported into the stage's folder for timing alone."""
    settings = experiment.study.benchmark
    threads, engines = thread_counts(settings.latency_threads), engines_here(settings.latency_engines)
    combined, exported, distilled = ensemble(experiment), export(experiment), student(experiment)
    teachers = {name: teacher(experiment, name) for name in experiment.study.teachers}
    files, reads = {"student_onnx": exported.folder / "student.onnx"}, [combined, exported, distilled]
    if experiment.study.export.int8:
        quantised = int8(experiment)
        files["student_onnx_int8"] = quantised.folder / INT8_FILE
        reads.append(quantised)

    def build(folder: Path) -> None:
        for engine in set(settings.latency_engines) - set(engines):
            log.info("latency: %s is not installed, so nothing is timed under it", engine)
        picture = typical_picture(read_cleaned(experiment))
        candidates = student_candidates(files, distilled, picture)
        for name, trained in teachers.items():
            candidates += teacher_candidates(name, models_of(trained)[0], folder / "teachers" / name, picture)
        measured = measure_candidates(
            [one for one in candidates if one.engine in engines],
            settings.latency_batches,
            threads,
            settings.latency_calls,
            rounds=settings.latency_rounds,
        )
        write_results_table(
            measured + ensemble_rows(measured, active_teachers(read_weights(combined))),
            folder / "metrics.csv",
            LATENCY_COLUMNS,
        )
        write_json(folder / "machine.json", {**machine.description(), "picture_px": list(picture)})

    section = {**settings.model_dump(), "latency_threads": threads, "latency_engines": engines}
    return experiment.workspace.stage("benchmarks/latency", section, reads, VERSION, build)


def thread_counts(asked: Sequence[int | str]) -> list[int]:
    """The numbers of threads in the order asked for, each once; "all" is every core that this process may use."""
    return list(dict.fromkeys(machine.usable_cores() if count == "all" else int(count) for count in asked))


def engines_here(asked: Sequence[str]) -> list[str]:
    """The engines asked for, without an optional one that is not installed."""
    return [engine for engine in asked if engine != "openvino" or find_spec("openvino")]


def student_candidates(files: Mapping[str, Path], distilled: StageResult, picture: tuple[int, int]) -> list[Candidate]:
    """The student's files, whole and bare, and the student in PyTorch, eager and compiled.

    files: the whole graph's file by the model's name in the tables, which ends in _int8 where the file is int8;
    the bare graph's lies beside it with _bare in its name.
    """
    input_px = load_checkpoint(distilled.folder).preprocessing.input_px
    candidates = []
    for model, whole in files.items():
        precision = "int8" if model.endswith("_int8") else "fp32"
        for graph, file in (("full", whole), ("bare", whole.with_stem(whole.stem + "_bare"))):
            inputs = Inputs(graph, input_px, *picture)
            candidates += in_onnx_engines(onnx_candidate(model, model, file, inputs, distilled.folder, precision))
    return candidates + [
        torch_candidate("student", "student", distilled.folder, engine) for engine in ("torch", "torch_compile")
    ]


def teacher_candidates(name: str, model: Path, place: Path, picture: tuple[int, int]) -> list[Candidate]:
    """A teacher exported the way the student is, and in PyTorch; with folds, one of its models."""
    checkpoint = load_checkpoint(model)
    export_student(checkpoint, place)
    inputs = Inputs("full", checkpoint.preprocessing.input_px, *picture)
    return [
        *in_onnx_engines(onnx_candidate(name, "teacher", place / "student.onnx", inputs, model)),
        torch_candidate(name, "teacher", model),
    ]
