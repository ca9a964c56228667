"""The network in fp16. It is only measured, never offered to users.

There is no bf16: ONNX's Conv accepts it from opset 22 on, and ONNX Runtime 1.31 has no CPU kernel for it.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from decant.export.interface import LOGITS, PIXELS


def fp16_network(network: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in fp16, with float32 inputs and outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    del graph.value_info[:]  # they declare the old types
    for tensor in graph.initializer:
        convert(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                convert(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        node.input[:] = [f"{name}/half" if name == PIXELS else name for name in node.input]
        node.output[:] = [f"{name}/half" if name == LOGITS else name for name in node.output]
    graph.node.insert(0, helper.make_node("Cast", [PIXELS], [f"{PIXELS}/half"], name="half/in", to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", [f"{LOGITS}/half"], [LOGITS], name="half/out", to=TensorProto.FLOAT))
    return model


def convert(tensor: TensorProto) -> None:
    """Convert a float32 tensor to fp16, in place; leave others unchanged."""
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
