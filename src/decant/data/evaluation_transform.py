"""The one evaluation transform: val, test, images to predict and the ONNX graph all use it."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from decant.data.preprocessing import FILL, Preprocessing

MAX_UNUSED = 16  # resized pixels per kept pixel up to which the whole image is resized


def evaluation_transform(image: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """Resize an image in float, bilinear and antialiased, then crop or pad it to the network's input.

    image: uint8 [H, W, 3], RGB, orientation already applied. Returns float32 [3, *preprocessing.shape] in [0, 1].
    """
    # torch warns about read-only arrays, which Pillow and memory maps return: they are copied.
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)
    shape = preprocessing.resized_shape(*image.shape[:2])
    windows = [shown_window(preprocessing, *sides) for sides in zip(shape, preprocessing.shape, strict=True)]
    (top, bottom, above), (left, right, before) = windows
    if shape == tuple(image.shape[:2]):
        part = pixels[:, top:bottom, left:right].float()
    elif may_resize_whole(shape, preprocessing):
        whole = F.interpolate(pixels[None].float(), shape, mode="bilinear", antialias=True, align_corners=False)
        part = whole[0, :, top:bottom, left:right]
    else:
        part = resized_part(pixels, shape, (top, bottom), (left, right))
    prepared = (part / 255).clamp(0, 1)
    height, width = preprocessing.shape
    if prepared.shape[1:] == (height, width):
        return prepared
    margins = (before, width - before - (right - left), above, height - above - (bottom - top))
    return F.pad(prepared, margins, value=FILL / 255)


def may_resize_whole(shape: tuple[int, int], preprocessing: Preprocessing) -> bool:
    """True if F.interpolate resizes the whole image to `shape` correctly and with little memory.

    To a width of 1 px, torch 2.15 antialiases wrongly.
    """
    height, width = preprocessing.shape
    return shape[1] > 1 and shape[0] * shape[1] <= MAX_UNUSED * height * width


def shown_window(preprocessing: Preprocessing, resized: int, input_side: int) -> tuple[int, int, int]:
    """First and last (exclusive) pixel of a resized side that the input shows, and where it starts in the input."""
    start = preprocessing.crop_start(resized, input_side)
    end = start + preprocessing.shown(resized, input_side)
    return start, end, preprocessing.pad_start(resized, input_side)


def resized_part(pixels: Tensor, shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Some rows and columns of the resized image, float32 [3, rows, columns], from the source pixels that they need.

    The result of F.interpolate, for images so thin that the whole resized image could exhaust the memory: an image of
    1 x 10,000 px with its shorter side resized to 128 px has 164 million pixels.
    """
    (top, bottom, down), (left, right, across) = (
        resize_weights(side, resized, *ends)
        for side, resized, ends in zip(pixels.shape[1:], shape, (rows, columns), strict=True)
    )
    return down @ pixels[:, top:bottom, left:right].float() @ across.T


def resize_weights(side: int, resized: int, start: int, end: int) -> tuple[int, int, Tensor]:
    """The first and last (exclusive) source pixel of some resized pixels, and their weights, float32 [end - start, n].

    The weight of a source pixel is max(0, 1 - |distance of the centres| / support), where the support is one resized
    pixel or, when enlarging, one source pixel; weights sum to 1.
    """
    scale = side / resized
    support = max(scale, 1.0)
    centres = (np.arange(start, end) + 0.5) * scale
    first, last = max(int(centres[0] - support), 0), min(int(np.ceil(centres[-1] + support)), side)
    distances = np.abs(np.arange(first, last) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distances / support)
    return first, last, torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).float()
