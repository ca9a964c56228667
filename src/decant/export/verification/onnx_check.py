"""Faults in the structure of an ONNX file, found with the onnx package."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, numpy_helper
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from decant.export.interface import OPSET

STANDARD_DOMAINS = {"", "ai.onnx"}
INT16_MAX = 32_767


def structural_faults(path: Path) -> list[str]:
    """The reasons why the file is not one self-contained, standard ONNX model; empty if there is none."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        return [f"not an ONNX file: {error}"]
    faults = checker_faults(model) + opset_faults(model) + domain_faults(model.graph) + external_faults(model)
    return faults or saturation_faults(model.graph)


def checker_faults(model: onnx.ModelProto) -> list[str]:
    """The faults that onnx's full check finds, shape inference included."""
    try:
        onnx.checker.check_model(model.SerializeToString(), full_check=True)
    except (ValidationError, InferenceError, DecodeError, ValueError) as error:
        return [f"onnx.checker: {error}"]
    return []


def opset_faults(model: onnx.ModelProto) -> list[str]:
    """Operator sets that are not standard ONNX, too old, or different from the file's metadata."""
    others = [opset.domain for opset in model.opset_import if opset.domain not in STANDARD_DOMAINS]
    faults = [f"operator set of {domain}" for domain in others]
    versions = [opset.version for opset in model.opset_import if opset.domain in STANDARD_DOMAINS]
    recorded = {entry.key: entry.value for entry in model.metadata_props}.get("opset", "none")
    if len(versions) != 1:
        return [*faults, f"opsets {versions}, exactly one is needed"]
    if versions[0] < OPSET:
        faults.append(f"opset {versions[0]}, {OPSET} or later is needed")
    if str(versions[0]) != recorded:
        faults.append(f"opset {versions[0]}, but the metadata contain {recorded}")
    return faults


def domain_faults(graph: onnx.GraphProto) -> list[str]:
    """Operators that are not standard ONNX."""
    custom = [node for node in nodes_of(graph) if node.domain not in STANDARD_DOMAINS]
    return sorted({f"custom operator {node.domain}.{node.op_type}" for node in custom})


def external_faults(model: onnx.ModelProto) -> list[str]:
    """Tensors whose data are in another file."""
    return [
        f"the data of {tensor.name} are outside the file"
        for tensor in tensors_of(model.graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]


def saturation_faults(graph: onnx.GraphProto) -> list[str]:
    """The int8 weights whose products with uint8 activations can saturate on x86 processors without VNNI.

    On these, ONNX Runtime's kernels add two products in 16 bits (VPMADDUBSW). Which two weights of an output are added
    depends on the kernel, so the sum of the two largest of a tensor, each multiplied by 255, must not exceed 32,767.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    faults = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        activation, weight = (quantised_type(producers.get(name), tensors) for name in node.input[:2])
        if (activation, weight) == (TensorProto.UINT8, TensorProto.INT8):
            name = producers[node.input[1]].input[0]
            if name in tensors and largest_pair(numpy_helper.to_array(tensors[name])) > INT16_MAX:
                faults.append(f"{node.op_type} {node.name}: pairs of int8 products exceed 16 bits; export it again")
    return faults


def quantised_type(node: onnx.NodeProto | None, tensors: Mapping[str, TensorProto]) -> int | None:
    """The type of a DequantizeLinear node's input, read from its zero point; None for another node."""
    if node is None or node.op_type != "DequantizeLinear":
        return None
    zero_point = tensors.get(node.input[2]) if len(node.input) > 2 else None
    return TensorProto.UINT8 if zero_point is None else zero_point.data_type


def largest_pair(weights: np.ndarray) -> int:
    """The largest absolute sum of two int8 weights, each multiplied by the largest uint8 activation."""
    extremes = np.sort(weights.astype(np.int64), axis=None)
    return int(255 * max(extremes[-2:].clip(min=0).sum(), -extremes[:2].clip(max=0).sum()))


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, including those of branches and loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All tensors in the file, including those of branches, loops and constants."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_of(inner)
