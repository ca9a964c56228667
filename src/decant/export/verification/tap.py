"""A file's prepared image as an additional output. Needs no onnx package."""

from decant.export.interface import PREPARED

# Field numbers of onnx.proto.
MODEL_GRAPH, GRAPH_OUTPUT, VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT = 7, 12, 1, 2, 1, 1
FLOAT = 1
LENGTH_DELIMITED = 2  # of protobuf's wire types


def tapped(model: bytes) -> bytes:
    """A serialised full graph that also outputs `prepared`, the network's input.

    Protobuf merges messages whose bytes are concatenated: single fields are merged, repeated ones appended
    (Protocol Buffers, Encoding, "Last One Wins"). So appending a model that contains one output and nothing else
    adds that output.
    """
    element = bytes([TENSOR_ELEMENT << 3, FLOAT])
    kind = field(VALUE_TYPE, field(TYPE_TENSOR, element))
    output = field(VALUE_NAME, PREPARED.encode()) + kind
    return model + field(MODEL_GRAPH, field(GRAPH_OUTPUT, output))


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of fewer than 128 bytes: longer lengths take more than one byte."""
    if len(content) > 127:
        raise ValueError(f"{len(content)} bytes do not fit in a short field")
    return bytes([number << 3 | LENGTH_DELIMITED, len(content)]) + content
