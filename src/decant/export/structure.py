"""What a file is made of, seen with the onnx package: faults of structure."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from decant.export.interface import OPSET

STANDARD_DOMAINS = {"", "ai.onnx"}


def structural_faults(path: Path) -> list[str]:
    """Everything that keeps the file from being one self-contained, standard ONNX model; empty when it is."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        return [f"not an ONNX file: {error}"]
    return checker_faults(model) + opset_faults(model) + domain_faults(model.graph) + external_faults(model)


def checker_faults(model: onnx.ModelProto) -> list[str]:
    """What onnx's own full check, shape inference included, says."""
    try:
        onnx.checker.check_model(model.SerializeToString(), full_check=True)
    except (ValidationError, InferenceError, DecodeError, ValueError) as error:
        return [f"onnx.checker: {error}"]
    return []


def opset_faults(model: onnx.ModelProto) -> list[str]:
    """Wrong operator sets: another domain's, an old one, another than the file says in its metadata."""
    others = [one.domain for one in model.opset_import if one.domain not in STANDARD_DOMAINS]
    faults = [f"operator set of {domain}" for domain in others]
    versions = [one.version for one in model.opset_import if one.domain in STANDARD_DOMAINS]
    said = {entry.key: entry.value for entry in model.metadata_props}.get("opset", "none")
    if len(versions) != 1:
        return [*faults, f"opsets {versions}, one is needed"]
    if versions[0] < OPSET:
        faults.append(f"opset {versions[0]}, {OPSET} or later is needed")
    if str(versions[0]) != said:
        faults.append(f"opset {versions[0]}, the metadata say {said}")
    return faults


def domain_faults(graph: onnx.GraphProto) -> list[str]:
    """Operators that are not standard ONNX."""
    custom = [node for node in nodes_of(graph) if node.domain not in STANDARD_DOMAINS]
    return sorted({f"custom operator {node.domain}.{node.op_type}" for node in custom})


def external_faults(model: onnx.ModelProto) -> list[str]:
    """Tensors whose data lie in another file."""
    return [
        f"the data of {tensor.name} lie outside the file"
        for tensor in tensors_of(model.graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and loops too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All tensors that the file holds, branches, loops and constants included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_of(inner)
