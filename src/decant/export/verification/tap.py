"""Access to the image that a file prepares: the tensor `prepared` as an additional output. Needs no onnx package."""

from decant.export.interface import PREPARED
from decant.export.protobuf import field, number_field

# Field numbers of onnx.proto.
MODEL_GRAPH, GRAPH_OUTPUT, VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT = 7, 12, 1, 2, 1, 1
FLOAT = 1


def tapped(model: bytes) -> bytes:
    """The serialised full graph with `prepared`, the network's input, as an additional output.

    Appending a model that contains only one output adds this output: see `decant.export.protobuf`.
    """
    element = number_field(TENSOR_ELEMENT, FLOAT)
    type_field = field(VALUE_TYPE, field(TYPE_TENSOR, element))
    output = field(VALUE_NAME, PREPARED.encode()) + type_field
    return model + field(MODEL_GRAPH, field(GRAPH_OUTPUT, output))
