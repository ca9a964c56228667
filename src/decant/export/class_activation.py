"""Class activation maps: a file's logits at each place, before the average, as an additional output.

CAM (Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", eq. 2): where a network ends in an
average over places and one linear layer, that layer may be applied at each place first. The average of the map over its
places is then exactly the logits. Needs no onnx package, so every exported file has its map wherever it is served.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from decant.export.interface import LOGITS, PREPARED
from decant.export.protobuf import field, fields, number_field, read_varint

MAP = "class_activation_map"  # float32 [N, K, h, w]
PREFIX = "map/"  # of the tensors that are added

# Field numbers of onnx.proto.
MODEL_GRAPH, GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_OUTPUT, VALUE_NAME = 7, 1, 5, 12, 1
NODE_INPUT, NODE_OUTPUT, NODE_OPERATOR, NODE_ATTRIBUTE, ATTRIBUTE_NAME, ATTRIBUTE_INTS = 1, 2, 4, 5, 1, 8
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_BYTES, INT64 = 1, 2, 8, 9, 7
VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT, TENSOR_SHAPE, SHAPE_DIM, FLOAT = 2, 1, 1, 2, 1, 1

AVERAGES = ("GlobalAveragePool", "ReduceMean")
SHAPES = ("Flatten", "Reshape", "Squeeze", "Identity")  # between the average and the last layer
WINDOWS = ("Conv", "MaxPool", "AveragePool")
POINTWISE = (
    "Add Sub Mul Div Clip Relu LeakyRelu Sigmoid HardSigmoid HardSwish Tanh Erf Softplus BatchNormalization Identity"
).split()


class NoMap(Exception):
    """The graph has no class activation map; the message gives the reason."""


@dataclass(frozen=True)
class Places:
    """Where the cells of a map lie on one axis of the network's input: cell i is centred at first + i * step, pixels.

    Pixel number j covers j to j + 1. Convolutions with uneven padding see half a step beside the middle of their cell.
    """

    first: float = 0.5
    step: float = 1.0


@dataclass(frozen=True)
class Node:
    """A node of the graph: its operator, the names of its inputs and outputs, and its attributes that list integers."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    lists: Mapping[str, Sequence[int]]


def with_map(model: bytes) -> tuple[bytes, tuple[Places, Places]]:
    """The serialised full graph with MAP as an additional output, and the places of its rows and of its columns.

    The map's mean over its places is the logits, before the temperature, which divides all of them alike. Raises NoMap
    for a graph that does not end in an average over places and a linear layer, and ValueError for damaged bytes.
    """
    producers = {name: node for node in nodes_of(model) for name in node.outputs}
    head = linear_layer(producers)
    features = averaged(head.inputs[0], producers)
    places = (places_of(features, producers, axis=0), places_of(features, producers, axis=1))
    return model + added(features, *head.inputs[1:]), places


def linear_layer(producers: Mapping[str, Node]) -> Node:
    """The node that computes the logits from features, weights and a bias."""
    head = producers.get(LOGITS)
    if head is None or head.operator != "Gemm" or len(head.inputs) != 3:
        raise NoMap("the logits are not those of a linear layer")
    return head


def averaged(pooled: str, producers: Mapping[str, Node]) -> str:
    """The name of the tensor [N, C, h, w] whose average is the linear layer's input."""
    node = next((node for node in upstream(pooled, producers) if node.operator not in SHAPES), None)
    if node is None or node.operator not in AVERAGES:
        operator = node.operator if node else "nothing known"
        raise NoMap(f"its last layer follows {operator}, not an average over the places of the image")
    return node.inputs[0]


def upstream(name: str, producers: Mapping[str, Node]) -> Iterator[Node]:
    """The node that makes a tensor, the node that makes its first input, and so on. Raises NoMap for a circle."""
    passed = set()
    while (node := producers.get(name)) is not None:
        if name in passed:
            raise NoMap("its nodes form a circle")
        passed.add(name)
        yield node
        name = node.inputs[0] if node.inputs else ""


def places_of(name: str, producers: Mapping[str, Node], axis: int) -> Places:
    """The places of a tensor's cells. axis: 0 for rows, 1 for columns.

    Follows the tensor back to the network's input through windows, whose strides and padding move the cells, and
    through operators that work on each place.
    """
    middle, step = 0.0, 1.0  # of the first cell, in pixels of the present tensor
    for node in upstream(name, producers):
        if PREPARED in node.outputs:
            return Places(middle + 0.5, step)
        if node.operator not in (*WINDOWS, *POINTWISE):
            raise NoMap(f"where its cells lie is unknown: {node.operator} moves them")
        if node.operator in WINDOWS:
            stride, before, reach = window(node, axis)
            middle, step = stride * middle - before + reach / 2, stride * step
    raise NoMap("its features do not come from the prepared image")


def window(node: Node, axis: int) -> tuple[int, int, int]:
    """The stride of a window, the padding before the first pixel, and the distance of its outermost pixels."""
    size = node.lists.get("kernel_shape", ())
    stride, pads, dilation = (node.lists.get(name) for name in ("strides", "pads", "dilations"))
    if len(size) != 2:
        raise NoMap(f"{node.operator} has no size in two dimensions")
    reach = (size[axis] - 1) * (dilation[axis] if dilation else 1)
    return stride[axis] if stride else 1, pads[axis] if pads else 0, reach


def added(features: str, weights: str, bias: str) -> bytes:
    """A model that contains only the linear layer as a convolution of 1 x 1, and its output."""
    shape, kernel = f"{PREFIX}shape", f"{PREFIX}kernel"  # [K, C] -> [K, C, 1, 1]: 0 keeps a side
    sides = b"".join(side.to_bytes(8, "little") for side in (0, 0, 1, 1))
    tensor = number_field(TENSOR_DIMS, 4) + number_field(TENSOR_TYPE, INT64)
    tensor += field(TENSOR_NAME, shape.encode()) + field(TENSOR_BYTES, sides)
    any_sides = field(TENSOR_SHAPE, 4 * field(SHAPE_DIM, b""))
    value_type = field(VALUE_TYPE, field(TYPE_TENSOR, number_field(TENSOR_ELEMENT, FLOAT) + any_sides))
    graph = field(GRAPH_INITIALIZER, tensor)
    graph += field(GRAPH_NODE, node_bytes("Reshape", [weights, shape], kernel))
    graph += field(GRAPH_NODE, node_bytes("Conv", [features, kernel, bias], MAP))
    return field(MODEL_GRAPH, graph + field(GRAPH_OUTPUT, field(VALUE_NAME, MAP.encode()) + value_type))


def node_bytes(operator: str, inputs: Sequence[str], output: str) -> bytes:
    """A node without attributes."""
    names = b"".join(field(NODE_INPUT, name.encode()) for name in inputs)
    return names + field(NODE_OUTPUT, output.encode()) + field(NODE_OPERATOR, operator.encode())


def nodes_of(model: bytes) -> Iterator[Node]:
    """The nodes of a serialised model. Raises ValueError for damaged bytes."""
    for graph in parts(memoryview(model), MODEL_GRAPH):
        for node in parts(graph, GRAPH_NODE):
            yield Node(
                operator="".join(texts(node, NODE_OPERATOR)),
                inputs=texts(node, NODE_INPUT),
                outputs=texts(node, NODE_OUTPUT),
                lists={
                    "".join(texts(attribute, ATTRIBUTE_NAME)): integers(attribute)
                    for attribute in parts(node, NODE_ATTRIBUTE)
                },
            )


def parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages and texts among a message's fields with this number."""
    return (value for other, value in fields(message) if other == number and isinstance(value, memoryview))


def texts(message: memoryview, number: int) -> list[str]:
    return [bytes(value).decode() for value in parts(message, number)]


def integers(attribute: memoryview) -> list[int]:
    """The list of integers of an attribute, which may be packed in one field."""
    numbers: list[int] = []
    for number, value in fields(attribute):
        if number != ATTRIBUTE_INTS:
            continue
        if isinstance(value, int):
            numbers.append(value)
            continue
        position = 0
        while position < len(value):
            entry, position = read_varint(value, position)
            numbers.append(entry)
    return numbers
