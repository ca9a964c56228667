"""Stage benchmarks/latency: how long each model takes here, in fresh processes, without test-time augmentation."""

from pathlib import Path

from decant import machine
from decant.data.manifest import Manifest
from decant.export.student import export_student
from decant.models.checkpoint import load_checkpoint
from decant.reporting.candidates import (
    LATENCY_COLUMNS,
    Candidate,
    ensemble_rows,
    measure_candidates,
    onnx_candidate,
    torch_candidate,
)
from decant.reporting.format import write_results_table
from decant.reporting.latency import Inputs
from decant.stages.ensemble import ensemble, heard, read_weights
from decant.stages.experiment import Experiment
from decant.stages.export import export
from decant.stages.labels import read_cleaned
from decant.stages.student import student
from decant.stages.teacher import models_of, teacher
from decant.workspace import Finished, write_json

VERSION = 1
LEAST_CALLS = 30  # large batches are called less often: their times vary less


def latency(experiment: Experiment) -> Finished:
    """`metrics.csv` and `machine.json`. Teachers are exported into the stage's folder for timing alone."""
    settings = experiment.study.benchmark
    combined, exported, distilled = ensemble(experiment), export(experiment), student(experiment)
    teachers = {name: teacher(experiment, name) for name in experiment.study.teachers}

    def build(folder: Path) -> None:
        picture = typical_picture(read_cleaned(experiment))
        candidates = student_candidates(exported, distilled, picture)
        for name, trained in teachers.items():
            candidates += teacher_candidates(name, models_of(trained)[0], folder / "teachers" / name, picture)
        candidates = [one for one in candidates if one.engine in settings.latency_engines]
        measured = [
            row
            for batch_size in settings.latency_batches
            for row in measure_candidates(
                candidates,
                [batch_size],
                settings.latency_threads,
                max(settings.latency_calls // batch_size, min(settings.latency_calls, LEAST_CALLS)),
                rounds=settings.latency_rounds,
            )
        ]
        write_results_table(
            measured + ensemble_rows(measured, heard(read_weights(combined))), folder / "metrics.csv", LATENCY_COLUMNS
        )
        write_json(folder / "machine.json", {**machine.description(), "picture_px": list(picture)})

    reads = [combined, exported, distilled]
    return experiment.workspace.stage("benchmarks/latency", settings.model_dump(), reads, VERSION, build)


def typical_picture(manifest: Manifest) -> tuple[int, int]:
    """Median height and width of the pictures that the models were asked about, pixels."""
    rows = manifest.of_split("val", "test", "predict")
    return int(rows["height"].median()), int(rows["width"].median())


def student_candidates(exported: Finished, distilled: Finished, picture: tuple[int, int]) -> list[Candidate]:
    """The shipped file, whole and bare, and the student in PyTorch."""
    input_px = load_checkpoint(distilled.folder).preprocessing.input_px
    graphs = {"full": "student.onnx", "bare": "student_bare.onnx"}
    return [
        *(
            onnx_candidate(
                "student_onnx",
                "student_onnx",
                exported.folder / file,
                Inputs(graph, input_px, *picture),
                distilled.folder,
            )
            for graph, file in graphs.items()
        ),
        torch_candidate("student", "student", distilled.folder),
    ]


def teacher_candidates(name: str, model: Path, place: Path, picture: tuple[int, int]) -> list[Candidate]:
    """A teacher exported the way the student is, and in PyTorch; with folds, one of its models."""
    checkpoint = load_checkpoint(model)
    export_student(checkpoint, place)
    inputs = Inputs("full", checkpoint.preprocessing.input_px, *picture)
    return [
        onnx_candidate(name, "teacher", place / "student.onnx", inputs, model),
        torch_candidate(name, "teacher", model),
    ]
