"""What every test may rely on: few threads, no network, no telemetry, and the real photos where they are."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch is imported, and inherited by the scripts that tests start.
# The networks of the tests are so small that a second thread costs more than it brings; and threads that spin while
# they wait (see decant/cores.py) would make the suite ten times slower beside another busy process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["WANDB_MODE"] = "disabled"
os.environ["MPLBACKEND"] = "Agg"

import pytest
from hypothesis import settings

pytest_plugins = ["exported_students", "browsers"]  # fixtures of export, timing and serving

# A deadline would assert a time; a fixed seed gives every run the same examples.
settings.register_profile("decant", deadline=None, derandomize=True, database=None)
settings.load_profile("decant")


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def exit_code_of() -> Callable[..., int]:
    """A function that runs the script at a path below the repository with some words and returns its exit code."""
    from decant.errors import exit_on_user_error
    from decant.scripts import script_module

    def call(path: str, *words: object) -> int:
        try:
            with exit_on_user_error():
                script_module(path).main([str(word) for word in words])
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return call


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos; tests that take it carry the mark `data`."""
    folder = Path(os.environ.get("DECANT_DATA", "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}: set DECANT_DATA to the folder that holds them")
    return folder


@dataclass(frozen=True)
class Quantisation:
    """How a network was quantised. scales: of its weights, each an array. ranges: scale of each activation."""

    scales: list[Any]
    largest_weight: int
    ranges: dict[str, float]
    last_layer: bool


@pytest.fixture(scope="session")
def quantisation_of() -> Callable[[Any], Quantisation]:
    """Reads a model (onnx.ModelProto) whose last layer is a Gemm."""
    from onnx import TensorProto, numpy_helper

    def read(model: Any) -> Quantisation:
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        value = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
        int8 = {name for name, tensor in tensors.items() if tensor.data_type == TensorProto.INT8}
        nodes = {
            kind: [node for node in model.graph.node if node.op_type == kind] for kind in ("Gemm", "QuantizeLinear")
        }
        weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in int8]
        return Quantisation(
            scales=[value[node.input[1]] for node in weights],
            largest_weight=max(int(abs(value[node.input[0]].astype(int)).max()) for node in weights),
            ranges={node.input[0]: float(value[node.input[1]]) for node in nodes["QuantizeLinear"]},
            last_layer=any(nodes["Gemm"][-1].input[1] in node.output for node in weights),
        )

    return read
