"""Access to the image that a file prepares: the tensor `prepared` as an additional output. Needs no onnx package."""

from decant.export.interface import PREPARED

# Field numbers of onnx.proto.
MODEL_GRAPH, GRAPH_OUTPUT, VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT = 7, 12, 1, 2, 1, 1
FLOAT = 1
LENGTH_DELIMITED = 2  # of protobuf's wire types


def tapped(model: bytes) -> bytes:
    """The serialised full graph with `prepared`, the network's input, as an additional output.

    Protobuf merges messages whose bytes are concatenated: single fields are merged, repeated fields are appended
    (Protocol Buffers, Encoding, "Last One Wins"). So appending a model that contains only one output adds this output.
    """
    element = bytes([TENSOR_ELEMENT << 3, FLOAT])
    type_field = field(VALUE_TYPE, field(TYPE_TENSOR, element))
    output = field(VALUE_NAME, PREPARED.encode()) + type_field
    return model + field(MODEL_GRAPH, field(GRAPH_OUTPUT, output))


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field. Raises ValueError for more than 127 bytes, whose length needs more than one byte."""
    if len(content) > 127:
        raise ValueError(f"a field of {len(content)} bytes is too long; at most 127 fit")
    return bytes([number << 3 | LENGTH_DELIMITED, len(content)]) + content
