"""Preprocessing as ONNX nodes: from a uint8 image of any size to the network's input.

Each axis is resized by matrix products with weights that the graph computes from the image's size. A result row
depends on few source rows, and the weights of one product for all rows would be mostly zeros. Therefore the result
rows are split into bands of neighbouring rows, and each band has a product with only the source rows that it needs.
Source rows and columns outside the crop are never read, and only gathered pixels are converted to float.

Resize(antialias=1, exclude_outside=1) gives the same image. It is not used because it also resizes the part outside
the crop, and several engines do not support it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from decant.data.preprocessing import FILL, Preprocessing, size_text
from decant.export.interface import IMAGES, IR_VERSION, OPSET, PREPARED

PREFIX = "preprocessing/"  # of node and tensor names, so that none equals one of the network's
MAX_BAND = 8  # rows per band: larger bands multiply more zeros, smaller ones gather more rows twice
FAR = 1 << 60  # a distance, in the units of `bands`, at which a pixel has weight 0


def preprocessing_graph(preprocessing: Preprocessing) -> onnx.ModelProto:
    """`evaluation_transform` as an ONNX model.

    images uint8 [N, H, W, 3], RGB, N, H and W dynamic -> prepared float32 [N, 3, *preprocessing.shape] in [0, 1].
    Raises ValueError for an input larger than the box that it is the centre of.
    """
    height, width = preprocessing.shape
    if not all(1 <= side <= box for side, box in zip(preprocessing.shape, preprocessing.box, strict=True)):
        raise ValueError(
            f"the crop of {size_text(preprocessing.input_px)} px must fit into the resized "
            f"{size_text(preprocessing.resize_px)} px"
        )
    nodes = Nodes()
    (rows, row_weights), (columns, column_weights) = bands(nodes, preprocessing)
    first, end = span(nodes, columns)
    strip = nodes("Slice", IMAGES, first, end, nodes.constant([2]))
    rows_resized = weighted_sums(nodes, strip, rows, row_weights, [height, -1, 3])  # [N, height, W', 3]
    transposed = nodes("Transpose", rows_resized, perm=[0, 2, 3, 1])
    scaled = nodes("Div", column_weights, nodes.constant(255, np.float32))
    shifted = nodes("Sub", columns, first)  # column numbers within the strip
    both_resized = weighted_sums(nodes, transposed, shifted, scaled, [width, 3, height])
    chw = nodes("Transpose", both_resized, perm=[0, 2, 3, 1])
    if preprocessing.fit == "pad":
        chw = filled(nodes, chw, row_weights, column_weights)
    nodes("Clip", chw, nodes.constant(0, np.float32), nodes.constant(1, np.float32), output=PREPARED)
    return nodes.model(
        {IMAGES: (TensorProto.UINT8, ["N", "H", "W", 3])},
        {PREPARED: (TensorProto.FLOAT, ["N", 3, height, width])},
    )


class Nodes:
    """A list of nodes under construction. Calling it adds a node and returns the name of the node's output."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = f"{self.prefix}{operator}_{len(self.nodes)}"
        output = output or f"{name}_output"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, value: object, dtype: type = np.int64) -> str:
        """Add a constant and return its name."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def model(self, inputs: Mapping[str, tuple[int, list]], outputs: Mapping[str, tuple[int, list]]) -> onnx.ModelProto:
        """A model of the collected nodes. inputs, outputs: name -> ONNX type and shape."""
        graph = helper.make_graph(
            self.nodes,
            "decant",
            [helper.make_tensor_value_info(name, *type_and_shape) for name, type_and_shape in inputs.items()],
            [helper.make_tensor_value_info(name, *type_and_shape) for name, type_and_shape in outputs.items()],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


@dataclass(frozen=True)
class Symbol:
    """A tensor of the graph on which Python's operators add nodes, so that Preprocessing's arithmetic works on it."""

    nodes: Nodes
    name: str

    def __add__(self, other: "Symbol | int") -> "Symbol":
        return self._node("Add", other)

    def __sub__(self, other: "Symbol | int") -> "Symbol":
        return self._node("Sub", other)

    def __mul__(self, other: "Symbol | int") -> "Symbol":
        return self._node("Mul", other)

    def larger(self, other: "Symbol | int") -> "Symbol":
        return self._node("Max", other)

    def smaller(self, other: "Symbol | int") -> "Symbol":
        return self._node("Min", other)

    def __floordiv__(self, other: "Symbol | int") -> "Symbol":
        """ONNX's integer Div rounds towards zero. That is the floor, because lengths are not negative."""
        return self._node("Div", other)

    def _node(self, operator: str, other: "Symbol | int") -> "Symbol":
        right = other.name if isinstance(other, Symbol) else self.nodes.constant(other)
        return Symbol(self.nodes, self.nodes(operator, self.name, right))


def bands(nodes: Nodes, preprocessing: Preprocessing) -> list[tuple[str, str]]:
    """The source pixels that the input shows and their weights, for the rows and for the columns.

    Sources are int64 [bands, taps], weights float32 [bands, band, taps], whose sums over the taps are 1, or 0 outside
    a padded image. Both axes are computed in one tensor, as if the input had the longer side twice. Positions are
    integers in units of 1 / (2 * resized) of a source pixel, so they are exact for any image.

    The weight of source pixel j for result pixel i is max(0, 1 - |distance of their centres| / support), where the
    support is one result pixel or, when enlarging, one source pixel. Weights are then normalised, because there are no
    pixels beyond the borders.
    """
    band = max(rows for rows in range(1, MAX_BAND + 1) if all(side % rows == 0 for side in preprocessing.shape))
    sides = nodes("Reshape", nodes("Shape", IMAGES, start=1, end=3), nodes.constant([2, 1, 1, 1]))
    resized = resized_sides(nodes, sides, preprocessing)
    step = nodes("Mul", resized, nodes.constant(2))  # from one source pixel to the next
    support = nodes("Mul", nodes("Max", sides, resized), nodes.constant(2))
    numbers = result_numbers(nodes, resized, preprocessing, band)
    targets = nodes("Sub", nodes("Mul", numbers, sides), resized)  # [2, bands, band, 1]
    leftmost = nodes("Sub", nodes("ReduceMin", targets, nodes.constant([2])), support)
    first = nodes("Max", nodes("Div", leftmost, step), nodes.constant(0))
    taps = taps_of(nodes, sides, resized, support, band)
    counted = nodes("Range", nodes.constant(0), nodes("ReduceMax", taps, keepdims=0), nodes.constant(1))
    sources = nodes("Add", first, counted)  # [2, bands, 1, taps]; some are beyond the last pixel
    positions = nodes("Where", nodes("Less", sources, sides), nodes("Mul", sources, step), nodes.constant(FAR))
    distance = nodes("Abs", nodes("Sub", targets, positions))  # [2, bands, band, taps]
    tent = nodes("Relu", nodes("Cast", nodes("Sub", support, distance), to=TensorProto.FLOAT))
    weights = nodes("Div", tent, nodes("ReduceSum", tent, nodes.constant([3])))
    if preprocessing.fit == "pad":  # 0 / 0 outside the image
        after = nodes("Less", nodes("Sub", nodes("Mul", resized, nodes.constant(2)), numbers), nodes.constant(0))
        outside = nodes("Or", nodes("Less", numbers, nodes.constant(0)), after)
        weights = nodes("Where", outside, nodes.constant(0, np.float32), weights)
    last = nodes("Sub", sides, nodes.constant(1))
    sources = nodes("Squeeze", nodes("Min", sources, last), nodes.constant([2]))
    return [
        (
            bands_of(nodes, sources, taps, axis, side // band, preprocessing),
            bands_of(nodes, weights, taps, axis, side // band, preprocessing),
        )
        for axis, side in enumerate(preprocessing.shape)
    ]


def bands_of(nodes: Nodes, both: str, taps: str, axis: int, count: int, preprocessing: Preprocessing) -> str:
    """The first `count` bands of one axis, with the taps that this axis needs; a square input needs all bands.

    Unless the image is stretched or padded, both axes are scaled alike and need the same number of taps. With the taps
    of the other axis, the memory for a panorama would grow with the square of its width.
    """
    bands = nodes("Gather", both, nodes.constant(axis), axis=0)
    if preprocessing.fit != "crop":
        axis_taps = nodes("Reshape", nodes("Gather", taps, nodes.constant(axis), axis=0), nodes.constant([1]))
        bands = nodes("Slice", bands, nodes.constant([0]), axis_taps, nodes.constant([-1]))
    if preprocessing.shape[0] == preprocessing.shape[1]:
        return bands
    return nodes("Slice", bands, nodes.constant([0]), nodes.constant([count]), nodes.constant([0]))


def resized_sides(nodes: Nodes, sides: str, preprocessing: Preprocessing) -> str:
    """Height and width of the resized image: int64 [2, 1, 1, 1]."""
    if preprocessing.fit == "stretch":
        return nodes.constant(np.reshape(preprocessing.box, (2, 1, 1, 1)))
    height, width = (nodes("Shape", IMAGES, start=axis, end=axis + 1) for axis in (1, 2))
    return preprocessing.resized(Symbol(nodes, sides), Symbol(nodes, height), Symbol(nodes, width)).name


def result_numbers(nodes: Nodes, resized: str, preprocessing: Preprocessing, band: int) -> str:
    """2 * i + 1 for the number i, in the resized image, of each pixel of the input: int64 [2, bands, band, 1].

    Padded pixels have numbers below 0 or from `resized` on.
    """
    given = Symbol(nodes, nodes.constant(np.reshape(preprocessing.shape, (2, 1, 1, 1))))
    start = preprocessing.crop_start(Symbol(nodes, resized), given)
    if preprocessing.fit == "pad":
        start = start - preprocessing.pad_start(Symbol(nodes, resized), given)
    odd = nodes.constant((2 * np.arange(max(preprocessing.shape)) + 1).reshape(-1, band, 1))
    return nodes("Add", nodes("Mul", start.name, nodes.constant(2)), odd)


def filled(nodes: Nodes, image: str, row_weights: str, column_weights: str) -> str:
    """`image` [N, 3, height, width] with FILL where the sum of the weights of its row or column is 0."""
    sums = (nodes("ReduceSum", weights, nodes.constant([2]), keepdims=0) for weights in (row_weights, column_weights))
    rows, columns = (
        nodes("Reshape", axis_sums, nodes.constant(shape))
        for axis_sums, shape in zip(sums, ([-1, 1], [1, -1]), strict=True)
    )
    outside = nodes("Sub", nodes.constant(1, np.float32), nodes("Mul", rows, columns))
    return nodes("Add", image, nodes("Mul", outside, nodes.constant(FILL / 255, np.float32)))


def taps_of(nodes: Nodes, sides: str, resized: str, support: str, band: int) -> str:
    """The largest number of source pixels that a band of each axis needs: int64 [2, 1, 1, 1].

    The supports of a band cover ((band - 1) * side + support) / resized pixels; at each end one more pixel may be
    covered in part. An image has no more pixels than its side: padded pixels need none.
    """
    between = nodes("Mul", sides, nodes.constant(band - 1))
    whole = nodes("Div", nodes("Add", between, support), resized)
    return nodes("Min", nodes("Add", whole, nodes.constant(2)), sides)


def span(nodes: Nodes, sources: str) -> tuple[str, str]:
    """The lowest of these pixel numbers, and the highest plus 1: int64 [1] each."""
    one = nodes.constant([1])  # serves as the shape [1] and as the number 1
    first = nodes("Reshape", nodes("ReduceMin", sources), one)
    last = nodes("Reshape", nodes("ReduceMax", sources), one)
    return first, nodes("Add", last, one)


def weighted_sums(nodes: Nodes, image: str, sources: str, weights: str, shape: list[int]) -> str:
    """Weighted sums of `image` [N, side, a, b] along its second axis: float32 [N, *shape].

    sources: int64 [bands, taps], weights: float32 [bands, band, taps].
    """
    gathered = nodes("Gather", image, sources, axis=1)  # [N, bands, taps, a, b]
    flat = nodes("Reshape", gathered, nodes.constant([0, 0, 0, -1]))
    floats = nodes("Cast", flat, to=TensorProto.FLOAT)
    return nodes("Reshape", nodes("MatMul", weights, floats), nodes.constant([0, *shape]))
