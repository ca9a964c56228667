"""Stage benchmarks/latency: how long each model takes here, in fresh processes, without test-time augmentation."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from decant import cores, machine
from decant.data.manifest import read_manifest
from decant.evaluation.tables import write_results_table
from decant.export.student import export_student
from decant.models.checkpoint import load_checkpoint
from decant.stages.int8 import FILE as INT8_FILE
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import typical_size
from decant.stages.support.resolve import Inputs
from decant.stages.support.tracked import artifact, read_rows
from decant.stages.support.weights import active_teachers, read_weights
from decant.study import Benchmark, non_defaults
from decant.timing.models import (
    LATENCY_COLUMNS,
    Candidate,
    ensemble_rows,
    in_onnx_engines,
    measure_candidates,
    onnx_candidate,
    torch_candidate,
)
from decant.timing.process import Inputs as TimedInputs
from decant.timing.quoted import quoted_threads
from decant.tracking import Artifact, Record
from decant.workspace import write_json

log = logging.getLogger(__name__)
VERSION = 6  # 6: a quick table unless benchmark.full; 5: PyTorch's threads wait as its users' do
QUICK_CALLS, QUICK_ROUNDS = 40, 2


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    benchmark = timed_settings(experiment.study.benchmark)
    threads, engines = thread_counts(benchmark.latency_threads), installed_engines(benchmark.latency_engines)
    return {**non_defaults(benchmark), "latency_threads": threads, "latency_engines": engines}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `metrics.csv` and `machine.json`. Teachers are exported into the stage's folder for timing alone."""
    benchmark = timed_settings(experiment.study.benchmark)
    engines = installed_engines(benchmark.latency_engines)
    for engine in set(benchmark.latency_engines) - set(engines):
        log.info("latency: %s is not installed, so nothing is timed under it", engine)
    size = typical_size(read_manifest(inputs.folder("clean")))
    candidates = student_candidates(student_files(inputs), inputs.folder("shipped"), size)
    for teacher, trained in inputs.per_teacher("teachers").items():
        teacher_folder = folder / "teachers" / teacher
        candidates += teacher_candidates(teacher, model_folders(trained.folder)[0], teacher_folder, size)
    rows = measure_candidates(
        [candidate for candidate in candidates if candidate.engine in engines],
        benchmark.latency_batches,
        thread_counts(benchmark.latency_threads),
        benchmark.latency_calls,
        rounds=benchmark.latency_rounds,
    )
    rows += ensemble_rows(rows, active_teachers(read_weights(inputs.folder("ensemble"))))
    write_results_table(rows, folder / "metrics.csv", LATENCY_COLUMNS)
    write_json(folder / "machine.json", {**machine.description(), "picture_px": list(size)})


def records(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> Iterator[Record]:
    rows = read_rows(folder / "metrics.csv")
    yield Record(tables={"latency": rows}, artifacts=artifacts(name, folder, experiment.study.data.may_be_shared))


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    return [artifact(name, "tables", folder, ["metrics.csv", "machine.json"])]


def timed_settings(benchmark: Benchmark) -> Benchmark:
    """The study's settings if `full`; else single images, one thread count, few calls and ONNX Runtime alone."""
    if benchmark.full:
        return benchmark
    return benchmark.model_copy(
        update={
            "latency_calls": min(benchmark.latency_calls, QUICK_CALLS),
            "latency_batches": [1],
            "latency_threads": [quoted_threads(thread_counts(benchmark.latency_threads))],
            "latency_rounds": min(benchmark.latency_rounds, QUICK_ROUNDS),
            "latency_engines": ["onnxruntime"],
        }
    )


def thread_counts(counts: Sequence[int | str]) -> list[int]:
    """The numbers of threads in the given order, each once; "all" is every core that this process may use."""
    return list(dict.fromkeys(cores.usable_cores() if count == "all" else int(count) for count in counts))


def installed_engines(engines: Sequence[str]) -> list[str]:
    """The engines, without openvino if that is not installed: it is optional."""
    return [engine for engine in engines if engine != "openvino" or find_spec("openvino")]


def student_files(inputs: Inputs) -> dict[str, Path]:
    """Name in the tables -> ONNX file, of the student in fp32 and, if the study asks for it, in int8."""
    files = {"student_onnx": inputs.folder("export") / "student.onnx"}
    if "int8" in inputs:
        files["student_onnx_int8"] = inputs.folder("int8") / INT8_FILE
    return files


def student_candidates(files: Mapping[str, Path], student: Path, size: tuple[int, int]) -> list[Candidate]:
    """The student's files, whole and bare, and the student in PyTorch, eager and compiled.

    files: of `student_files`; a name that ends in _int8 has an int8 file. Beside each lies its bare graph, with _bare
    in its name. size: height and width of the images, pixels.
    """
    input_px = load_checkpoint(student).preprocessing.input_px
    candidates = []
    for model, file in files.items():
        dtype = "int8" if model.endswith("_int8") else "fp32"
        for graph, path in (("full", file), ("bare", file.with_stem(file.stem + "_bare"))):
            inputs = TimedInputs(graph, input_px, *size)
            candidates += in_onnx_engines(onnx_candidate(model, model, path, inputs, student, dtype))
    return candidates + [
        torch_candidate("student", "student", student, engine) for engine in ("torch", "torch_compile")
    ]


def teacher_candidates(name: str, model: Path, folder: Path, size: tuple[int, int]) -> list[Candidate]:
    """A teacher exported the way the student is, and in PyTorch; with folds, one of its models."""
    checkpoint = load_checkpoint(model)
    export_student(checkpoint, folder)
    inputs = TimedInputs("full", checkpoint.preprocessing.input_px, *size)
    return [
        *in_onnx_engines(onnx_candidate(name, "teacher", folder / "student.onnx", inputs, model)),
        torch_candidate(name, "teacher", model),
    ]
