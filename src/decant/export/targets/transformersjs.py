"""Target transformersjs: a folder for `pipeline("image-classification", FOLDER)` of @huggingface/transformers."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from decant.export.graph import Nodes
from decant.export.interface import IMAGES, INPUT, LOGITS, OPSET, OUTPUTS, PIXEL_VALUES, PROBABILITIES, TEMPERED
from decant.export.metadata import serialised, stamp
from decant.export.targets.folder import json_bytes, write_target

UNTEMPERED = "network/logits"  # the new name of the network's own logits


def write_transformersjs_folder(exported: Path, folder: Path) -> None:
    """Write `config.json`, `preprocessor_config.json` and `onnx/model.onnx`.

    exported: a `student.onnx`. The config turns off transformers.js' resize, crop and normalisation: its resize differs
    between browsers, and the graph contains all three.
    """
    full = onnx.load(exported)
    metadata = {entry.key: entry.value for entry in full.metadata_props}
    model = web_graph(full)
    stamp(model, metadata | {"graph": "web", "input": json.dumps(INPUT["web"]), "outputs": json.dumps(OUTPUTS["web"])})
    onnx.checker.check_model(model, full_check=True)
    files = {
        "config.json": json_bytes(model_config(json.loads(metadata["classes"]))),
        "preprocessor_config.json": json_bytes(PREPROCESSOR),
        "onnx/model.onnx": serialised(model),
    }
    write_target(folder, "transformersjs", files)


PREPROCESSOR = {
    "image_processor_type": "ImageProcessor",
    "do_convert_rgb": True,
    "do_resize": False,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": False,
    "do_pad": False,
}


def model_config(classes: list[str]) -> dict[str, object]:
    """The content of config.json.

    model_type selects a model class from transformers.js' fixed list. All classes for image classification do the same:
    they run the session from pixel_values to logits. Without dtype, browsers request a quantised file.
    """
    return {
        "model_type": "vit",
        "id2label": {str(index): name for index, name in enumerate(classes)},
        "label2id": {name: index for index, name in enumerate(classes)},
        "transformers.js_config": {"dtype": "fp32"},
    }


def web_graph(full: onnx.ModelProto) -> onnx.ModelProto:
    """The full graph with another input and output: pixel_values -> logits divided by the temperature."""
    entrance = entrance_graph()
    entrance.ir_version = full.ir_version
    model = compose.merge_models(entrance, full, io_map=[(IMAGES, IMAGES)], doc_string=full.doc_string)
    del model.opset_import[:]  # the merge lists the same set twice
    model.opset_import.append(helper.make_opsetid("", OPSET))
    output_tempered_logits(model.graph)
    return model


def entrance_graph() -> onnx.ModelProto:
    """pixel_values float32 [N, 3, H, W] in [0, 1] -> images uint8 [N, H, W, 3].

    Rounding restores the bytes that were divided by 255, so the full graph behind it gets exactly its usual input.
    """
    nodes = Nodes(prefix="entrance/")
    scaled = nodes("Mul", PIXEL_VALUES, nodes.constant(255, np.float32))
    clipped = nodes("Clip", nodes("Round", scaled), nodes.constant(0, np.float32), nodes.constant(255, np.float32))
    nodes("Transpose", nodes("Cast", clipped, to=TensorProto.UINT8), perm=[0, 2, 3, 1], output=IMAGES)
    return nodes.model(
        {PIXEL_VALUES: (TensorProto.FLOAT, ["N", 3, "H", "W"])}, {IMAGES: (TensorProto.UINT8, ["N", "H", "W", 3])}
    )


def output_tempered_logits(graph: onnx.GraphProto) -> None:
    """Make logits / temperature the only output, named logits, in place: transformers.js applies softmax."""
    (logits,) = [output for output in graph.output if output.name == LOGITS]
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["N", classes]))
    (softmax,) = [node for node in graph.node if PROBABILITIES in node.output]
    graph.node.remove(softmax)
    names = {LOGITS: UNTEMPERED, TEMPERED: LOGITS}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
