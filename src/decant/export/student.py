"""Export of a student's checkpoint to the ONNX files that users run."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.export.graph import preprocessing_graph
from decant.export.interface import INPUT, LOGITS, OPSET, PIXELS, PREPARED, PROBABILITIES, TEMPERED
from decant.export.metadata import describe, serialised, stamp, steps
from decant.export.network import network_graph
from decant.models.checkpoint import Checkpoint
from decant.workspace import replacing, write_json

NO_METADATA: Mapping[str, str] = MappingProxyType({})


def export_student(
    checkpoint: Checkpoint, folder: Path, temperature: float = 1.0, metadata: Mapping[str, str] = NO_METADATA
) -> None:
    """Write `student.onnx`, `student_bare.onnx`, `classes.txt` and `preprocessing.json` into `folder`.

    temperature: T > 0 of softmax(logits / T) (Guo et al. 2017). metadata: further strings for the files. Each file
    is written atomically, `student.onnx` last. Raises ValueError for an invalid temperature or for metadata that
    would overwrite the format's own keys, UserError if classes and network do not match.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"the temperature must be positive and finite, not {temperature}")
    bare = network_graph(checkpoint.classifier, checkpoint.preprocessing.input_px)
    check_classes(bare, checkpoint.classes)
    full = full_graph(bare, checkpoint.preprocessing, temperature)
    files = {
        graph: sealed(model, graph, checkpoint, temperature, metadata)
        for graph, model in (("bare", bare), ("full", full))
    }
    write_bytes(folder / "classes.txt", "".join(f"{name}\n" for name in checkpoint.classes).encode())
    write_json(folder / "preprocessing.json", {"input": INPUT["full"], **steps(checkpoint.preprocessing)})
    write_bytes(folder / "student_bare.onnx", files["bare"])
    write_bytes(folder / "student.onnx", files["full"])


def sealed(
    model: onnx.ModelProto, graph: str, checkpoint: Checkpoint, temperature: float, metadata: Mapping[str, str]
) -> bytes:
    """The bytes of a model with its metadata, after onnx's check. graph: "full" | "bare"."""
    stamp(model, describe(graph, checkpoint.classes, checkpoint.preprocessing, temperature, metadata))
    onnx.checker.check_model(model, full_check=True)
    return serialised(model)


def check_classes(bare: onnx.ModelProto, classes: list[str]) -> None:
    """Raise UserError unless there is one logit per class and each class name is one line of text."""
    outputs = bare.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if outputs != len(classes):
        raise UserError(f"the student has {outputs} logits for {len(classes)} classes; train it again")
    unusable = [name for name in classes if len(name.splitlines()) != 1]
    if unusable:
        raise UserError(f"the class name {unusable[0]!r} is not one line of text; rename it with class_names")


def full_graph(bare: onnx.ModelProto, preprocessing: Preprocessing, temperature: float) -> onnx.ModelProto:
    """Preprocessing, network and softmax in one graph: images -> probabilities, logits."""
    preparation = preprocessing_graph(preprocessing)
    # merge_models requires equal versions; torch chose the version that its nodes need.
    preparation.ir_version = bare.ir_version
    model = compose.merge_models(preparation, bare, io_map=[(PREPARED, PIXELS)])
    del model.opset_import[:]  # the merge lists the same set twice
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.value_info.append(preparation.graph.output[0])  # its type, so that verification can read `prepared`
    add_probabilities(model.graph, temperature)
    return model


def add_probabilities(graph: onnx.GraphProto, temperature: float) -> None:
    """Append probabilities = softmax(logits / T), in place; `logits` stay the network's own."""
    logits = graph.output[0]
    divisor = np.array(temperature, np.float32)
    graph.initializer.append(numpy_helper.from_array(divisor, "answer/temperature"))
    graph.node.extend(
        [
            helper.make_node("Div", [LOGITS, "answer/temperature"], [TEMPERED], name="answer/Div"),
            helper.make_node("Softmax", [TEMPERED], [PROBABILITIES], name="answer/Softmax", axis=1),
        ]
    )
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    graph.output.insert(0, helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", classes]))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, atomically."""
    with replacing(path) as partial:
        partial.write_bytes(data)
