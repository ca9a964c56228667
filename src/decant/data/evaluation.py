"""The one evaluation transform: what val, test, photos to predict and the ONNX graph all see."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Preprocessing:
    """How an oriented RGB picture becomes a network's input.

    input_px: side of the square input, pixels. crop_ratio: share (0, 1] of the resized shorter side that the
    centre crop keeps.
    """

    input_px: int
    crop_ratio: float = 1.0

    @property
    def resize_px(self) -> int:
        """Length of the shorter side after resizing, pixels."""
        return round(self.input_px / self.crop_ratio)


def resized_shape(height: int, width: int, resize_px: int) -> tuple[int, int]:
    """Shape whose shorter side is `resize_px`, in integer arithmetic so that an ONNX graph can repeat it."""
    short = min(height, width)

    def scaled(side: int) -> int:
        return (side * resize_px + short // 2) // short

    return scaled(height), scaled(width)


def evaluation_transform(picture: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """Antialiased bilinear resize in float, then a centre crop.

    picture: uint8 [H, W, 3], RGB, orientation already applied. Returns float32 [3, S, S] in [0, 1]. Memory is that
    of the whole resized picture: one that is 1 px thin and 10,000 px long takes 2 GB before a crop of 128 px.
    """
    size = preprocessing.input_px
    # Copied where it is read-only, too, as what Pillow and memory maps lend is: torch would warn.
    image = torch.from_numpy(np.require(picture, requirements=["C", "W"])).permute(2, 0, 1)[None].float()
    shape = resized_shape(picture.shape[0], picture.shape[1], preprocessing.resize_px)
    if shape != tuple(picture.shape[:2]):
        image = F.interpolate(image, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return (image[0, :, top : top + size, left : left + size] / 255).clamp(0, 1)
