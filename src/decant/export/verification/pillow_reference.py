"""A reference without PyTorch: Pillow prepares the image, the bare graph computes the logits."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnxruntime
from PIL import Image

from decant.data.preprocessing import Preprocessing
from decant.export.interface import LOGITS
from decant.export.runtime import run

Network = Callable[[np.ndarray], np.ndarray]  # prepared float32 [3, H, W] -> logits float32 [K]
GREY = 128.0  # the grey level of padded pixels, repeated here as a check of the file's


class PillowReference:
    """Pillow's own antialiased resize, in float, followed by the caller's network.

    The resize is independent of torch and ONNX Runtime. It verifies a file without the checkpoint and PyTorch.
    """

    def __init__(self, network: Network | None, classes: list[str], preprocessing: Preprocessing) -> None:
        self.network = network
        self.classes = classes
        self.preprocessing = preprocessing
        self.name = "Pillow and the bare graph" if network else "Pillow"

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> prepared float32 [3, H', W'] in [0, 1]."""
        return prepare(image, self.preprocessing)


def prepare(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [3, *shape] in [0, 1]: the shown part resized, antialiased, and padded.

    Only values of `preprocessing` are read; the sizes are computed here.
    """
    box, (top, left, height, width) = source_and_target(image.shape[0], image.shape[1], preprocessing)
    # float32 (Pillow's mode F): on 8-bit channels Pillow rounds between its two passes.
    channels = [Image.fromarray(image[:, :, c].astype(np.float32)) for c in range(3)]
    resized = [c.resize((width, height), Image.Resampling.BILINEAR, box=box) for c in channels]
    prepared = np.full((3, *preprocessing.shape), GREY, np.float32)
    prepared[:, top : top + height, left : left + width] = np.stack([np.asarray(channel) for channel in resized])
    return np.clip(prepared / 255, 0, 1).astype(np.float32)


def source_and_target(
    height: int, width: int, preprocessing: Preprocessing
) -> tuple[tuple[float, float, float, float], tuple[int, int, int, int]]:
    """The part of the image that the input shows, and its box in the input, pixels.

    The part is left, top, right, bottom; the box is top, left, height, width.
    """
    (top, bottom, above, rows), (left, right, before, columns) = ends(height, width, preprocessing)
    return (left, top, right, bottom), (above, before, rows, columns)


def ends(height: int, width: int, preprocessing: Preprocessing) -> list[tuple[float, float, int, int]]:
    """For the height and the width: first and last source pixel, first pixel in the input, pixels in the input."""
    box = [round(side / preprocessing.crop_ratio) for side in preprocessing.shape]
    if preprocessing.fit == "stretch":
        resized = box
    else:
        scales = [Fraction(box[0], height), Fraction(box[1], width)]
        scale = max(scales) if preprocessing.fit == "crop" else min(scales)
        resized = [max(1, math.floor(side * scale + Fraction(1, 2))) for side in (height, width)]
    axes = []
    for side, resized_side, input_side in zip((height, width), resized, preprocessing.shape, strict=True):
        shown = min(resized_side, input_side)
        start = (resized_side - shown) // 2
        first, last = (position * side / resized_side for position in (start, start + shown))
        axes.append((first, last, (input_side - shown) // 2, shown))
    return axes


def network_of(session: onnxruntime.InferenceSession) -> Network:
    """A session with one input as a network. Calls raise BrokenFile if the session fails."""
    name = session.get_inputs()[0].name
    return lambda prepared: run(session, {name: prepared[None]}, [LOGITS])[0][0]
