"""Preprocessing as ONNX nodes: a uint8 picture of any size in, the network's input out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from decant.data.evaluation import Preprocessing
from decant.export.interface import IMAGES, IR_VERSION, OPSET, PREPARED

PREFIX = "preprocessing/"  # of the names of nodes and tensors, away from the network's own


def preprocessing_graph(preprocessing: Preprocessing) -> onnx.ModelProto:
    """`decant.data.evaluation.evaluation_transform` as a model of its own.

    images uint8 [N, H, W, 3], RGB, N, H and W dynamic -> prepared float32 [N, 3, S, S] in [0, 1].
    Raises ValueError for a crop larger than the resized picture.
    """
    size = preprocessing.input_px
    if not 1 <= size <= preprocessing.resize_px:
        raise ValueError(f"the crop of {size} px must fit into the resized {preprocessing.resize_px} px")
    nodes = Nodes()
    height, width = side(nodes, 1), side(nodes, 2)
    shape = resized_sides(nodes, height, width, preprocessing.resize_px)
    resized = resize(nodes, nodes("Cast", IMAGES, to=TensorProto.FLOAT), shape)
    cropped = centre_crop(nodes, resized, shape, size)
    chw = nodes("Transpose", cropped, perm=[0, 3, 1, 2])
    scaled = nodes("Div", chw, nodes.constant(255, np.float32))
    nodes("Clip", scaled, nodes.constant(0, np.float32), nodes.constant(1, np.float32), output=PREPARED)
    return nodes.model(
        {IMAGES: (TensorProto.UINT8, ["N", "H", "W", 3])},
        {PREPARED: (TensorProto.FLOAT, ["N", 3, size, size])},
    )


class Nodes:
    """Nodes in the making: calling it adds one and returns the name of its output."""

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
        """The name of a constant of this value."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def model(self, inputs: Mapping[str, tuple[int, list]], outputs: Mapping[str, tuple[int, list]]) -> onnx.ModelProto:
        """A model of these nodes; inputs and outputs map a name to its ONNX type and shape."""
        graph = helper.make_graph(
            self.nodes,
            "decant",
            [helper.make_tensor_value_info(name, *what) for name, what in inputs.items()],
            [helper.make_tensor_value_info(name, *what) for name, what in outputs.items()],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def side(nodes: Nodes, axis: int) -> str:
    """Length of `images` along an axis: int64 [1]."""
    return nodes("Shape", IMAGES, start=axis, end=axis + 1)


def resized_sides(nodes: Nodes, height: str, width: str, resize_px: int) -> tuple[str, str]:
    """`resized_shape` in the graph: (long * resize_px + short // 2) // short on int64, equal to the pixel."""
    short = nodes("Min", height, width)
    half = nodes("Div", short, nodes.constant([2]))

    def scaled(length: str) -> str:
        return nodes("Div", nodes("Add", nodes("Mul", length, nodes.constant([resize_px])), half), short)

    return scaled(height), scaled(width)


def resize(nodes: Nodes, image: str, shape: tuple[str, str]) -> str:
    """Antialiased bilinear resize of float32 [N, H, W, 3] to `shape`.

    Against torch on a hundred odd sizes: without exclude_outside the outermost rows and columns are off by up
    to 18 grey levels; on uint8 the result is rounded twice and off by up to 1; on float32 it is within 0.01.
    Two matrix products with weights made in the graph agree as well but take nearly twice as long.
    """
    batch = side(nodes, 0)
    sizes = nodes("Concat", batch, *shape, nodes.constant([3]), axis=0)
    return nodes(
        "Resize",
        image,
        "",
        "",
        sizes,
        mode="linear",
        antialias=1,
        coordinate_transformation_mode="half_pixel",
        exclude_outside=1,
    )


def centre_crop(nodes: Nodes, image: str, shape: tuple[str, str], size: int) -> str:
    """The middle `size` x `size` pixels of [N, h, w, 3]: starts at (h - size) // 2, (w - size) // 2."""

    def start(length: str) -> str:
        return nodes("Div", nodes("Sub", length, nodes.constant([size])), nodes.constant([2]))

    starts = nodes("Concat", start(shape[0]), start(shape[1]), axis=0)
    ends = nodes("Add", starts, nodes.constant([size]))
    return nodes("Slice", image, starts, ends, nodes.constant([1, 2]))
