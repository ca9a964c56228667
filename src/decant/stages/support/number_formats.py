"""Which number format the student's file should have: each one's size, accuracy on val and time, and where time goes.

Not a stage of the chain: it answers a question once, for `results/export/`.
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

from decant.data.manifest import Manifest
from decant.errors import UserError
from decant.evaluation.tables import write_results_table
from decant.export.fp16 import fp16_network
from decant.export.int8 import int8_network
from decant.export.network import network_graph
from decant.export.runtime import OnnxClassifier
from decant.export.student import full_graph, sealed, write_bytes
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.seeds import derived_seed
from decant.stages.export import export
from decant.stages.int8 import CALIBRATION_BATCH, TIMED_ROUNDS, calibration_batches
from decant.stages.student import student
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import ask, typical_picture
from decant.stages.support.training_data import read_cleaned
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
    manifest, study = read_cleaned(experiment), experiment.study
    checkpoint = load_checkpoint(student(experiment).folder)
    fp32 = export(experiment).folder / "student.onnx"
    inputs = Inputs("full", checkpoint.preprocessing.input_px, *typical_picture(manifest))
    with tempfile.TemporaryDirectory() as place:
        files = made_files(experiment, manifest, checkpoint, fp32, Path(place))
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


def made_files(
    experiment: Experiment, manifest: Manifest, checkpoint: Checkpoint, fp32: Path, folder: Path
) -> dict[str, Path]:
    """Format -> file; what onnxslim makes of the shipped one only where that is installed.

    The export does not use onnxslim and does not depend on it: what it gains is a row of `results/export/formats.csv`.
    """
    files = {"fp32": fp32}
    temperature = OnnxClassifier(fp32).temperature
    network = network_graph(checkpoint.classifier, checkpoint.preprocessing.input_px)
    for name, make in makers(experiment, manifest, checkpoint, network).items():
        files[name] = folder / f"{name.replace(' ', '_')}.onnx"
        whole = full_graph(make(), checkpoint.preprocessing, temperature)
        write_bytes(files[name], sealed(whole, "full", checkpoint, temperature, {}))
    if importlib.util.find_spec("onnxslim"):
        import onnxslim

        files["fp32 onnxslim"] = folder / "slim.onnx"
        onnx.save(onnxslim.slim(str(fp32)), files["fp32 onnxslim"])
    else:
        log.info("onnxslim is not installed (pip install onnxslim), so the tables have no row of it")
    return files


def makers(
    experiment: Experiment, manifest: Manifest, checkpoint: Checkpoint, network: onnx.ModelProto
) -> dict[str, Callable[[], onnx.ModelProto]]:
    """Format -> a function that gives the bare network in it."""
    settings = experiment.study
    seed = derived_seed(settings.seed, "calibration")

    def quantised(options: dict[str, Any]) -> onnx.ModelProto:
        batches = calibration_batches(experiment, manifest, checkpoint, settings.export.calibration_images, seed)
        if options.get("method") is CalibrationMethod.Percentile:  # its histograms need equal batches
            batches = whole_batches(batches)
        return int8_network(network, batches, **options)

    return {
        **{name: partial(quantised, options) for name, options in CALIBRATIONS.items()},
        "fp16": partial(fp16_network, network),
    }


def whole_batches(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The batches of CALIBRATION_BATCH pictures. UserError where there is none."""
    found = False
    for batch in batches:
        if len(batch) == CALIBRATION_BATCH:
            found = True
            yield batch
    if not found:
        raise UserError(
            f"calibration by percentile needs at least {CALIBRATION_BATCH} pictures of train; raise "
            "export.calibration_images, or take a study that has more"
        )


def val_logits(experiment: Experiment, manifest: Manifest, file: Path) -> np.ndarray:
    """Logits [n, K] of val from image file to answer, in the order of its rows."""
    ids, _, logits = ask(experiment, manifest, "val", file)
    place = {id_: number for number, id_ in enumerate(ids)}
    return logits[[place[id_] for id_ in manifest.of_split("val")["id"]]]


def against_fp32(logits: np.ndarray, fp32: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Accuracy, the share answered as fp32 answers, and the root mean square difference of the logits [n, K]."""
    answers = logits.argmax(axis=1)
    return {
        "val_accuracy": float((answers == targets).mean()),
        "as_fp32": float((answers == fp32.argmax(axis=1)).mean()),
        "logit_rms": float(np.sqrt(np.square(logits - fp32).mean())),
    }


def profile_rows(study: str, name: str, file: Path, inputs: Inputs) -> list[dict[str, object]]:
    """The rows of `format_profile.csv` for one file, the slowest operator first."""
    spent = kernel_times(file, inputs)
    whole = sum(one.milliseconds for one in spent)
    return [
        {
            "study": study,
            "format": name,
            "operator": one.operator,
            "nodes": one.nodes,
            "kernel_ms": one.milliseconds,
            "share": one.milliseconds / whole,
        }
        for one in spent
    ]
