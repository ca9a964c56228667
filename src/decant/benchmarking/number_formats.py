"""The student's file in several number formats: size, accuracy on val, time per image, and time per operator.

Not a stage of the chain: `results/export/` contains the comparison.
"""

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod

from decant.data.manifest import Manifest, read_manifest
from decant.errors import UserError
from decant.evaluation.tables import write_results_table
from decant.export.fp16 import fp16_network
from decant.export.int8 import int8_network
from decant.export.network import network_graph
from decant.export.runtime import OnnxClassifier
from decant.export.student import full_graph, sealed, write_bytes
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.stages.int8 import CALIBRATION_BATCH, TIMED_ROUNDS, calibration_batches, calibration_seed
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import onnx_predictions, typical_size
from decant.stages.support.resolve import stage_result
from decant.timing.models import measure_speedups, onnx_candidate
from decant.timing.process import Inputs
from decant.timing.profiler import kernel_times

FORMAT_COLUMNS = (
    "study", "format", "input_px", "threads", "file_mb", "val_accuracy", "as_fp32", "logit_rms", "p50_ms",
    "times_as_fast",
)  # fmt: skip
PROFILE_COLUMNS = ("study", "format", "operator", "nodes", "kernel_ms", "share")
PROFILED = ("fp32", "int8")
THREADS = (1, 2)
CALIBRATIONS = {
    "int8": {},
    "int8 last layer too": {"last_layer": True},
    "int8 one scale a tensor": {"per_channel": False},
    "int8 percentile": {"method": CalibrationMethod.Percentile},
    "int8 full range": {"full_range": True},
}

log = logging.getLogger(__name__)


def measure_formats(experiment: Experiment, out: Path) -> None:
    """Write `formats.csv` and `format_profile.csv` into the folder `out`: the study's student in every format."""
    study = experiment.study
    manifest = read_manifest(stage_result(experiment, "clean").folder)
    checkpoint = load_checkpoint(stage_result(experiment, "shipped").folder)
    fp32 = stage_result(experiment, "export").folder / "student.onnx"
    inputs = Inputs("full", checkpoint.preprocessing.input_px, *typical_size(manifest))
    with tempfile.TemporaryDirectory() as folder:
        files = files_of_formats(experiment, manifest, checkpoint, fp32, Path(folder))
        candidates = [onnx_candidate(name, "student", file, inputs) for name, file in files.items()]
        measured = measure_speedups(candidates, THREADS, study.benchmark.latency_calls, TIMED_ROUNDS)
        logits = {name: val_logits(experiment, manifest, file) for name, file in files.items()}
        profiles = [row for name in PROFILED for row in profile_rows(study.name, name, files[name], inputs)]
    targets = manifest.targets(manifest.of_split("val"))
    rows = [
        {
            "study": study.name,
            "format": row["model"],
            **{column: row[column] for column in ("input_px", "threads", "file_mb", "p50_ms", "times_as_fast")},
            **against_fp32(logits[str(row["model"])], logits["fp32"], targets),
        }
        for row in measured
    ]
    write_results_table(rows, out / "formats.csv", FORMAT_COLUMNS)
    write_results_table(profiles, out / "format_profile.csv", PROFILE_COLUMNS)


def files_of_formats(
    experiment: Experiment, manifest: Manifest, checkpoint: Checkpoint, fp32: Path, folder: Path
) -> dict[str, Path]:
    """Format -> file, with the shipped file after onnxslim if that is installed; the export does not use it."""
    files = {"fp32": fp32}
    temperature = OnnxClassifier(fp32).temperature
    network = network_graph(checkpoint.classifier, checkpoint.preprocessing.input_px)
    for name, make in makers(experiment, manifest, checkpoint, network).items():
        files[name] = folder / f"{name.replace(' ', '_')}.onnx"
        graph = full_graph(make(), checkpoint.preprocessing, temperature)
        write_bytes(files[name], sealed(graph, "full", checkpoint, temperature, {}))
    if importlib.util.find_spec("onnxslim"):
        import onnxslim

        files["fp32 onnxslim"] = folder / "slim.onnx"
        onnx.save(onnxslim.slim(str(fp32)), files["fp32 onnxslim"])
    else:
        log.info("onnxslim is not installed (pip install onnxslim), so the tables have no row for it")
    return files


def makers(
    experiment: Experiment, manifest: Manifest, checkpoint: Checkpoint, network: onnx.ModelProto
) -> dict[str, Callable[[], onnx.ModelProto]]:
    """Format -> a function that returns the bare network in that format."""
    images, seed = experiment.study.export.calibration_images, calibration_seed(experiment)

    def quantised(options: dict[str, Any]) -> onnx.ModelProto:
        batches = calibration_batches(experiment, manifest, checkpoint, images, seed)
        if options.get("method") is CalibrationMethod.Percentile:  # its histograms need equal batches
            batches = whole_batches(batches)
        return int8_network(network, batches, **options)

    return {
        **{name: partial(quantised, options) for name, options in CALIBRATIONS.items()},
        "fp16": partial(fp16_network, network),
    }


def whole_batches(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the batches that have CALIBRATION_BATCH images. Raises UserError if there is none."""
    any_batch = False
    for batch in batches:
        if len(batch) == CALIBRATION_BATCH:
            any_batch = True
            yield batch
    if not any_batch:
        raise UserError(
            f"calibration by percentile needs at least {CALIBRATION_BATCH} images of train; raise "
            "export.calibration_images, or use a study with more images"
        )


def val_logits(experiment: Experiment, manifest: Manifest, file: Path) -> np.ndarray:
    """The file's logits [n, K] of the images of val, in the order of its rows."""
    ids, _, logits = onnx_predictions(experiment, manifest, "val", file)
    position = {id_: row for row, id_ in enumerate(ids)}
    return logits[[position[id_] for id_ in manifest.of_split("val")["id"]]]


def against_fp32(logits: np.ndarray, fp32: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Accuracy, agreement with fp32, and the root mean square difference of the logits [n, K]."""
    predicted = logits.argmax(axis=1)
    return {
        "val_accuracy": float((predicted == targets).mean()),
        "as_fp32": float((predicted == fp32.argmax(axis=1)).mean()),
        "logit_rms": float(np.sqrt(np.square(logits - fp32).mean())),
    }


def profile_rows(study: str, name: str, file: Path, inputs: Inputs) -> list[dict[str, object]]:
    """The rows of `format_profile.csv` for one file, the slowest operator first."""
    kernels = kernel_times(file, inputs)
    total = sum(kernel.milliseconds for kernel in kernels)
    return [
        {
            "study": study,
            "format": name,
            "operator": kernel.operator,
            "nodes": kernel.nodes,
            "kernel_ms": kernel.milliseconds,
            "share": kernel.milliseconds / total,
        }
        for kernel in kernels
    ]
