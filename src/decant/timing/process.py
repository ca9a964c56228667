"""A separate program that times one model.

    python -m decant.timing.process '{"engine": "onnxruntime", "path": "student.onnx", ...}'

It prints one JSON object. It imports only NumPy, one engine and a small module, so that `peak_rss_mb` and
`cold_start_s` are measured as in a small server, not as in a training process. `decant.timing.models` starts it.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from decant.data.preprocessing import InputPx, height_width

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Inputs:
    """Shape and type of a batch.

    `full` graphs take uint8 [B, height, width, 3], `bare` graphs float32 [B, 3, *input_px]. input_px: side of a square,
    or height and width.
    """

    graph: str  # full | bare
    input_px: InputPx
    height: int = 300  # of the image given to a full graph
    width: int = 400


@dataclass(frozen=True)
class Job:
    """The task of one process: the model, its inputs and the number of calls."""

    engine: str  # a key of LOADERS
    path: str  # the ONNX file, or the checkpoint's folder
    inputs: Inputs
    batch_size: int
    threads: int
    calls: int
    warmup: int


@dataclass(frozen=True)
class Samples:
    """The result of one process: time from opening the file to the first result, time of each call, peak memory."""

    cold_start_s: float
    call_ms: list[float]
    peak_rss_mb: float


Predict = Callable[[npt.NDArray[np.generic]], object]


def make_batch(inputs: Inputs, batch_size: int) -> npt.NDArray[np.generic]:
    """Return a batch of seeded noise: uint8 NHWC, or float32 NCHW in [0, 1]. Times do not depend on the content."""
    draw = np.random.default_rng(0)
    if inputs.graph == "full":
        return draw.integers(0, 256, (batch_size, inputs.height, inputs.width, 3), dtype=np.uint8)
    return draw.random((batch_size, 3, *height_width(inputs.input_px)), dtype=np.float32)


def measure(job: Job) -> Samples:
    """Load the model, run `warmup` batches untimed and `calls` batches timed.

    The cold start does not include imports, whose time depends on the disk and its cache. It includes compilation.
    """
    load = LOADERS[job.engine](job)
    batch = make_batch(job.inputs, job.batch_size)
    start = time.perf_counter()
    predict = load()
    predict(batch)
    cold_start_s = time.perf_counter() - start
    for _ in range(job.warmup):
        predict(batch)
    call_ms = [_time_ms(predict, batch) for _ in range(job.calls)]
    return Samples(cold_start_s, call_ms, peak_rss_mb())


def _time_ms(predict: Predict, batch: npt.NDArray[np.generic]) -> float:
    start = time.perf_counter()
    predict(batch)
    return (time.perf_counter() - start) * 1000


def _onnx_loader(job: Job) -> Callable[[], Predict]:
    import onnxruntime

    def load() -> Predict:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(job.path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda batch: session.run(None, {name: batch})

    return load


def _openvino_loader(job: Job) -> Callable[[], Predict]:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # By default OpenVINO uses bf16 if the processor supports it, but the row is labelled fp32.
        "INFERENCE_PRECISION_HINT": "f32",
    }

    def load() -> Predict:
        compiled = openvino.Core().compile_model(job.path, "CPU", settings)
        return lambda batch: list(compiled(batch).values())

    return load


def _torch_loader(job: Job) -> Callable[[], Predict]:
    import torch

    from decant.models.checkpoint import load_checkpoint

    if job.inputs.graph != "bare":
        raise ValueError("a checkpoint needs prepared images; time it with graph 'bare'")
    torch.set_num_threads(job.threads)

    def load() -> Predict:
        classifier = load_checkpoint(Path(job.path)).classifier.eval().to(memory_format=torch.channels_last)
        compiled = job.engine == "torch_compile"
        # Without fullgraph, parts that cannot be compiled would run eagerly and be timed as compiled.
        network = torch.compile(classifier, fullgraph=True, dynamic=False) if compiled else classifier

        def predict(batch: npt.NDArray[np.generic]) -> object:
            with torch.inference_mode():
                images = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
                return network(images).numpy()

        return predict

    return load


LOADERS: dict[str, Callable[[Job], Callable[[], Predict]]] = {
    "onnxruntime": _onnx_loader,
    "openvino": _openvino_loader,
    "torch": _torch_loader,
    "torch_compile": _torch_loader,
}


def peak_rss_mb() -> float:
    """Return the peak memory of this process in MB (10⁶ bytes).

    On Linux this is VmHWM, because `ru_maxrss` survives exec and may be the peak of the parent process.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / MEGABYTE


def main(arguments: list[str]) -> None:
    """Run the job given as JSON and print its samples as JSON."""
    fields = json.loads(arguments[0])
    samples = measure(Job(**{**fields, "inputs": Inputs(**fields["inputs"])}))
    sys.stdout.write(json.dumps(asdict(samples)))


if __name__ == "__main__":
    main(sys.argv[1:])
