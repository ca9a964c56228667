"""A reference without PyTorch: Pillow prepares the image, the bare graph computes the logits."""

from collections.abc import Callable

import numpy as np
import onnxruntime
from PIL import Image

from decant.data.preprocessing import Preprocessing
from decant.export.interface import LOGITS
from decant.export.runtime import run

Network = Callable[[np.ndarray], np.ndarray]  # prepared float32 [3, S, S] -> logits float32 [K]


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
        """uint8 [H, W, 3] -> prepared float32 [3, S, S] in [0, 1]."""
        return prepare(image, self.preprocessing)


def prepare(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [3, S, S] in [0, 1]: antialiased bilinear resize and centre crop in one step."""
    size = preprocessing.input_px
    box = cropped_box(image.shape[0], image.shape[1], preprocessing)
    # float32 (Pillow's mode F): on 8-bit channels Pillow rounds between its two passes.
    channels = [Image.fromarray(image[:, :, c].astype(np.float32)) for c in range(3)]
    resized = [c.resize((size, size), Image.Resampling.BILINEAR, box=box) for c in channels]
    return np.clip(np.stack([np.asarray(channel) for channel in resized]) / 255, 0, 1).astype(np.float32)


def cropped_box(height: int, width: int, preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the part of the image that the crop keeps, in the image's pixels."""
    input_px, resize_px = preprocessing.input_px, preprocessing.resize_px

    def ends(side: int) -> tuple[float, float]:
        short = min(height, width)
        resized = (side * resize_px + short // 2) // short
        start = (resized - input_px) // 2
        return start * side / resized, (start + input_px) * side / resized

    (top, bottom), (left, right) = ends(height), ends(width)
    return left, top, right, bottom


def network_of(session: onnxruntime.InferenceSession) -> Network:
    """A session with one input as a network. Calls raise BrokenFile if the session fails."""
    name = session.get_inputs()[0].name
    return lambda prepared: run(session, {name: prepared[None]}, [LOGITS])[0][0]
