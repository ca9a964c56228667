"""Stage int8: the student's file quantised, and whether it is worth having: faster here, and hardly less accurate."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decant import machine
from decant.data.manifest import Manifest
from decant.evaluation.tables import cell, rounded, short, significant
from decant.export.int8 import export_int8
from decant.export.runtime import OnnxClassifier
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.models.inference import evaluation_batches
from decant.seeds import derived_seed
from decant.stages.export import export, refuse
from decant.stages.student import student
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import (
    decoded,
    describe_file,
    evaluation,
    labels_of,
    origin,
    typical_picture,
    write_answers,
)
from decant.stages.support.training_data import read_cleaned
from decant.timing.models import file_mb, measure_speedups, onnx_candidate, value_of
from decant.timing.process import Inputs
from decant.timing.profiler import kernel_times
from decant.timing.quoted import QUOTED_THREADS
from decant.tracking import progress
from decant.workspace import StageResult, write_json

VERSION = 5  # 5: weights of 7 bits; 4: speed by the ratio in each round, a profile; 3: answers in batches are a gate
FILE = "student_int8.onnx"
CALIBRATION_BATCH = 16
TIMED_ROUNDS = 8  # fresh processes of each file, in turns
BUDGET_GATES = ("accuracy", "top1", "batch_top1")  # failing one of these means not offered; any other means broken


@dataclass(frozen=True)
class Speed:
    """Median milliseconds of one picture, and how many times as fast int8 is, as `measure_speedups` has it."""

    fp32_ms: float
    int8_ms: float
    times_as_fast: float


def int8(experiment: Experiment) -> StageResult:
    """`student_int8.onnx`, its bare graph, model card, predictions of every split, `verification.json`, `int8.json`.

    `int8.json` says whether the file is offered: it is where ONNX Runtime answers faster than with the fp32 file on
    this machine, val accuracy falls by no more than the study's budget, and no larger a share of pictures gets another
    class in a batch than alone. It names the processor that this was measured on.
    Raises UserError when the file fails otherwise than by its budget.
    """
    trained, exported = student(experiment), export(experiment)
    settings, study = experiment.study.export, experiment.study
    seed = derived_seed(study.seed, "calibration")

    def build(folder: Path) -> None:
        manifest = read_cleaned(experiment)
        checkpoint = load_checkpoint(trained.folder)
        file, fp32 = folder / FILE, exported.folder / "student.onnx"
        temperature = OnnxClassifier(fp32).temperature
        calibration = calibration_batches(experiment, manifest, checkpoint, settings.calibration_images, seed)
        metadata = {**origin(experiment, trained), "cpu": json.dumps(machine.cpu(), ensure_ascii=False)}
        export_int8(checkpoint, calibration, folder, temperature, metadata)
        write_answers(experiment, manifest, file, folder / "predictions")
        scores = evaluation(manifest, folder / "predictions", "student_onnx_int8")
        describe_file(file, scores)
        result = verify(
            file,
            decoded(experiment, manifest, "val"),
            TorchReference(checkpoint),
            fp32_path=fp32,
            budget=settings.int8_budget_points,
            labels=labels_of(manifest, "val"),
        )
        write_json(folder / "verification.json", result)
        refuse(file, result, but=BUDGET_GATES)
        inputs = Inputs("full", checkpoint.preprocessing.input_px, *typical_picture(manifest))
        files = {"fp32": fp32, "int8": file}
        speed = timed(files, inputs, study.benchmark.latency_calls)
        found = offer(result, speed, settings.int8_budget_points, file_mb(file))
        write_json(folder / "int8.json", {**found, **profiled(files, inputs), **machine.cpu()})

    asked = settings.model_dump(mode="json", exclude={"int8", "licence"})
    section = {**asked, "seed": seed, "latency_calls": study.benchmark.latency_calls}
    return experiment.workspace.stage("int8", section, [trained, exported], VERSION, build)


def read_offer(finished: StageResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished.folder / "int8.json").read_text(encoding="utf-8"))
    return found


def is_offered(finished: StageResult) -> bool:
    return bool(read_offer(finished)["offered"])


def verdict(finished: StageResult) -> str:
    """One line for people: the file where it is worth having, and why it is or is not."""
    found = read_offer(finished)
    what = f"int8 file: {finished.folder / FILE}" if found["offered"] else "int8 file: not offered"
    return f"{what} ({found['why']})"


def calibration_batches(
    experiment: Experiment, manifest: Manifest, checkpoint: Checkpoint, count: int, seed: int
) -> Iterator[np.ndarray]:
    """Float32 [B, 3, S, S] in [0, 1] of `count` pictures of train, drawn by seed, as the network sees them."""
    train = manifest.of_split("train")
    chosen = np.random.default_rng(seed).permutation(len(train))[:count]
    rows = train.iloc[np.sort(chosen)]
    pictures = progress(experiment.pictures(rows), "calibrating", len(rows), "images")
    for _, images in evaluation_batches(pictures, checkpoint.preprocessing, CALIBRATION_BATCH):
        yield images.numpy()


def timed(files: dict[str, Path], inputs: Inputs, calls: int) -> Speed:
    """One picture under ONNX Runtime, the files "fp32" and "int8" taking turns in fresh processes."""
    candidates = [onnx_candidate(name, "student", path, inputs) for name, path in files.items()]
    fp32, small = measure_speedups(candidates, [QUOTED_THREADS], calls, TIMED_ROUNDS)
    return Speed(value_of(fp32, "p50_ms"), value_of(small, "p50_ms"), value_of(small, "times_as_fast"))


def profiled(files: dict[str, Path], inputs: Inputs) -> dict[str, float]:
    """Why int8 is as fast as it is: what all operators of each file take, and what the convolutions among them."""
    found = {}
    for name, ending in (("int8", ""), ("fp32", "_fp32")):
        spent = kernel_times(files[name], inputs)
        convolutions = sum(one.milliseconds for one in spent if "Conv" in one.operator)
        found[f"kernels_ms{ending}"] = rounded("kernels_ms", sum(one.milliseconds for one in spent))
        found[f"convolutions_ms{ending}"] = rounded("convolutions_ms", convolutions)
    return found


def offer(result: dict[str, Any], speed: Speed, budget_points: float, size_mb: float) -> dict[str, Any]:
    """Whether the int8 file is offered, why, and the figures that this rests on."""
    lost = 100 * (result["reference_accuracy"] - result["accuracy"])
    good, fast = result["passed"], speed.times_as_fast > 1
    change = "gained" if lost < 0 else f"lost ({budget_points} allowed)"
    points = short(cell("points", abs(lost)))
    why = f"{significant(speed.times_as_fast)} times as fast as fp32, {points} points of val accuracy {change}"
    if result["gates"]["batch_top1"]["passed"] is False:
        why += ", too many pictures with another class in a batch than alone"
    return {
        "offered": bool(good and fast),
        "why": why,
        "val_accuracy": rounded("accuracy", result["accuracy"]),
        "val_accuracy_fp32": rounded("accuracy", result["reference_accuracy"]),
        "points_lost": rounded("points", lost),
        "budget_points": budget_points,
        "p50_ms": rounded("p50_ms", speed.int8_ms),
        "p50_ms_fp32": rounded("p50_ms", speed.fp32_ms),
        "times_as_fast": rounded("times_as_fast", speed.times_as_fast),
        "threads": QUOTED_THREADS,
        "file_mb": rounded("file_mb", size_mb),
    }
