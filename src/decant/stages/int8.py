"""Stage int8: the student's file quantised, and offered if it is faster here and accurate enough."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decant import machine
from decant.data.manifest import Manifest, read_manifest
from decant.evaluation.tables import cell, rounded, short, significant
from decant.export.int8 import export_int8
from decant.export.runtime import OnnxClassifier
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.models.inference import evaluation_batches
from decant.seeds import derived_seed
from decant.stages.export import check_gates, origin_of
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import (
    acceptance,
    decoded_images,
    describe_file,
    evaluation,
    labels_by_id,
    typical_size,
    write_onnx_predictions,
)
from decant.stages.support.resolve import Inputs
from decant.stages.support.tracked import artifact, flat
from decant.study import non_defaults
from decant.timing.models import file_mb, measure_speedups, onnx_candidate, value_of
from decant.timing.process import Inputs as TimedInputs
from decant.timing.profiler import kernel_times
from decant.timing.quoted import QUOTED_THREADS
from decant.tracking import Artifact, Record, progress
from decant.workspace import write_json

VERSION = 10  # 10: accepted predictions count groups; 9: the card's intervals resample groups
FILE = "student_int8.onnx"
CALIBRATION_BATCH = 16
TIMED_ROUNDS = 8  # fresh processes per file, in turns
BUDGET_GATES = ("accuracy", "top1", "batch_top1")  # if one of these fails, the file is not offered; any other: broken


@dataclass(frozen=True)
class Speedup:
    """Median milliseconds per image, and how many times as fast int8 is (`measure_speedups`)."""

    fp32_ms: float
    int8_ms: float
    times_as_fast: float


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    study = experiment.study
    return {
        **non_defaults(study.export, "int8", "licence", "ship"),
        "seed": calibration_seed(experiment),
        "latency_calls": study.benchmark.latency_calls,
    }


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `student_int8.onnx`, its bare graph, `accept.json`, model card, predictions of every split,
    `verification.json` and `int8.json`.

    `int8.json` contains the verdict. The file is offered if ONNX Runtime runs it faster than the fp32 file on this
    machine, if it loses no more val accuracy than the study's budget, and if no more images than this share get another
    class in a batch than alone. Raises UserError if the file fails a gate that is not in BUDGET_GATES.
    """
    study, export = experiment.study, experiment.study.export
    manifest = read_manifest(inputs.folder("clean"))
    checkpoint = load_checkpoint(inputs.folder("shipped"))
    file, fp32 = folder / FILE, inputs.folder("export") / "student.onnx"
    exported = OnnxClassifier(fp32)
    batches = calibration_batches(
        experiment, manifest, checkpoint, export.calibration_images, calibration_seed(experiment)
    )
    metadata = {**origin_of(exported), "cpu": json.dumps(machine.cpu(), ensure_ascii=False)}
    export_int8(checkpoint, batches, folder, exported.temperature, metadata)
    predictions = folder / "predictions"
    write_onnx_predictions(experiment, manifest, file, predictions)
    accepted = acceptance(manifest, predictions, export.accept_precision)  # its own: its probabilities differ
    describe_file(file, evaluation(manifest, predictions, "student_onnx_int8"), accepted)
    report = verify(
        file,
        decoded_images(experiment, manifest, "val"),
        TorchReference(checkpoint),
        fp32_path=fp32,
        budget=export.int8_budget_points,
        labels=labels_by_id(manifest, "val"),
    )
    write_json(folder / "verification.json", report)
    check_gates(file, report, may_fail=BUDGET_GATES)
    timed_inputs = TimedInputs("full", checkpoint.preprocessing.input_px, *typical_size(manifest))
    files = {"fp32": fp32, "int8": file}
    speedup = measured_speedup(files, timed_inputs, study.benchmark.latency_calls)
    verdict = offer(report, speedup, export.int8_budget_points, file_mb(file))
    write_json(folder / "int8.json", {**verdict, **profiled(files, timed_inputs), **machine.cpu()})


def records(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> Iterator[Record]:
    summary = {"file_mb": file_mb(folder / FILE), **flat(read_offer(folder))}
    yield Record(summary=summary, artifacts=artifacts(name, folder, experiment.study.data.may_be_shared))


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    return [artifact("student-onnx-int8", "model", folder, [FILE, "accept.json", "int8.json", "verification.json"])]


def calibration_seed(experiment: Experiment) -> int:
    return derived_seed(experiment.study.seed, "calibration")


def read_offer(folder: Path) -> dict[str, Any]:
    """The content of `int8.json`."""
    content: dict[str, Any] = json.loads((folder / "int8.json").read_text(encoding="utf-8"))
    return content


def is_offered(folder: Path) -> bool:
    return bool(read_offer(folder)["offered"])


def offer_line(folder: Path) -> str:
    """A line for people: the file, or that it is not offered, and the reason."""
    content = read_offer(folder)
    file = f"int8 file: {folder / FILE}" if content["offered"] else "int8 file: not offered"
    return f"{file} ({content['why']})"


def calibration_batches(
    experiment: Experiment, manifest: Manifest, checkpoint: Checkpoint, count: int, seed: int
) -> Iterator[np.ndarray]:
    """Batches float32 [B, 3, H, W] in [0, 1] of `count` images of train, drawn by seed, as the network reads them."""
    train = manifest.of_split("train")
    chosen = np.random.default_rng(seed).permutation(len(train))[:count]
    rows = train.iloc[np.sort(chosen)]
    encoded = progress(experiment.encoded_images(rows), "calibrating", len(rows), "images")
    for _, images in evaluation_batches(encoded, checkpoint.preprocessing, CALIBRATION_BATCH):
        yield images.numpy()


def measured_speedup(files: dict[str, Path], inputs: TimedInputs, calls: int) -> Speedup:
    """Time the files "fp32" and "int8" under ONNX Runtime: one image per call, in turns, in fresh processes."""
    candidates = [onnx_candidate(name, "student", path, inputs) for name, path in files.items()]
    fp32, int8 = measure_speedups(candidates, [QUOTED_THREADS], calls, TIMED_ROUNDS)
    return Speedup(value_of(fp32, "p50_ms"), value_of(int8, "p50_ms"), value_of(int8, "times_as_fast"))


def profiled(files: dict[str, Path], inputs: TimedInputs) -> dict[str, float]:
    """Milliseconds per call of all operators and of the convolutions, in each file: why int8 is as fast as it is."""
    milliseconds = {}
    for name, suffix in (("int8", ""), ("fp32", "_fp32")):
        kernels = kernel_times(files[name], inputs)
        convolutions = sum(kernel.milliseconds for kernel in kernels if "Conv" in kernel.operator)
        milliseconds[f"kernels_ms{suffix}"] = rounded("kernels_ms", sum(kernel.milliseconds for kernel in kernels))
        milliseconds[f"convolutions_ms{suffix}"] = rounded("convolutions_ms", convolutions)
    return milliseconds


def offer(report: dict[str, Any], speedup: Speedup, budget_points: float, size_mb: float) -> dict[str, Any]:
    """Whether the int8 file is offered, why, and the figures behind it. report: of `verify`."""
    lost = 100 * (report["reference_accuracy"] - report["accuracy"])
    change = "gained" if lost < 0 else f"lost ({budget_points} allowed)"
    points = short(cell("points", abs(lost)))
    why = f"{significant(speedup.times_as_fast)} times as fast as fp32, {points} points of val accuracy {change}"
    if report["gates"]["batch_top1"]["passed"] is False:
        why += ", too many images with another class in a batch than alone"
    return {
        "offered": bool(report["passed"] and speedup.times_as_fast > 1),
        "why": why,
        "val_accuracy": rounded("accuracy", report["accuracy"]),
        "val_accuracy_fp32": rounded("accuracy", report["reference_accuracy"]),
        "points_lost": rounded("points", lost),
        "budget_points": budget_points,
        "p50_ms": rounded("p50_ms", speedup.int8_ms),
        "p50_ms_fp32": rounded("p50_ms", speedup.fp32_ms),
        "times_as_fast": rounded("times_as_fast", speedup.times_as_fast),
        "threads": QUOTED_THREADS,
        "file_mb": rounded("file_mb", size_mb),
    }
