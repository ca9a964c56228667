"""The time per operator within a call, measured by ONNX Runtime's profiler."""

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from decant.timing.process import Inputs, make_batch

CALLS = 100


@dataclass(frozen=True)
class KernelTime:
    operator: str
    nodes: int
    milliseconds: float  # per call, summed over its nodes


def kernel_times(file: Path, inputs: Inputs) -> list[KernelTime]:
    """Return the time of each operator for one image on one thread, slowest first."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        batch = make_batch(inputs, 1)
        for _ in range(CALLS):
            session.run(None, {session.get_inputs()[0].name: batch})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    duration_us: Counter[str] = Counter()
    nodes: dict[str, set[str]] = {}
    for event in events:
        if event["name"].endswith("_kernel_time"):
            operator = event["args"]["op_name"]
            duration_us[operator] += event["dur"]
            nodes.setdefault(operator, set()).add(event["name"])
    return [
        KernelTime(operator, len(nodes[operator]), microseconds / 1000 / CALLS)
        for operator, microseconds in duration_us.most_common()
    ]
