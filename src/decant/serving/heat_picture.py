"""A class activation map as a picture that is laid over the photo."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from decant.data.preprocessing import Preprocessing
from decant.export.class_activation import Places

PICTURE_PX = 128  # of the longer side: a map has few cells, and browsers enlarge it smoothly
LEVELS = 255  # of the heat; one more colour is for what the network does not see
OPACITY = 150  # of 255
# Brighter and warmer with the heat, also for people who do not see all colours: (heat, red, green, blue)
RAMP = np.array([(0, 0, 0, 4), (0.25, 87, 16, 110), (0.5, 188, 55, 84), (0.75, 249, 142, 9), (1, 252, 255, 164)])


@dataclass(frozen=True)
class Axis:
    """One axis of the picture. weights: float64 [pixels, cells], sum 1 per pixel. seen: bool [pixels], in the input."""

    weights: np.ndarray
    seen: np.ndarray


def evidence_for(maps: np.ndarray, label: int) -> np.ndarray:
    """The logit of a class at each place minus the mean over all classes there, [h, w]. maps: [K, h, w], logits.

    A softmax does not change when the same number is added to all logits, so only differences are evidence.
    """
    return maps[label] - maps.mean(axis=0)


def heat_picture(
    evidence: np.ndarray, shape: tuple[int, int], places: tuple[Places, Places], preprocessing: Preprocessing
) -> tuple[bytes, float]:
    """A PNG to be stretched over the photo, and the share [0, 1] of the photo's area that it colours.

    evidence: [h, w]. shape: height and width of the upright photo, pixels. The heat runs from 0, where the evidence is
    not positive, to the highest value within the photo. What a crop cuts off is transparent.
    """
    rows, columns = axes(evidence.shape, shape, places, preprocessing)
    heat = np.clip(rows.weights @ evidence @ columns.weights.T, 0, None)
    seen = np.outer(rows.seen, columns.seen)
    highest = heat[seen].max(initial=0)
    levels = np.where(seen, heat * ((LEVELS - 1) / highest if highest > 0 else 0), LEVELS).astype(np.uint8)
    return png(levels), float(seen.mean())


def axes(
    cells: tuple[int, ...], shape: tuple[int, int], places: tuple[Places, Places], preprocessing: Preprocessing
) -> list[Axis]:
    """Rows and columns of the picture, whose sides are those of the photo on a smaller scale."""
    resized, inputs = preprocessing.resized_shape(*shape), preprocessing.shape
    scale = min(1.0, PICTURE_PX / max(shape))
    axes = []
    for side, new, given, place, count in zip(shape, resized, inputs, places, cells, strict=True):
        pixels = max(1, round(side * scale))
        start = preprocessing.crop_start(new, given) - preprocessing.pad_start(new, given)
        position = (np.arange(pixels) + 0.5) / pixels * new - start  # of each pixel's middle, in the network's input
        cell = (position - place.first) / place.step
        weights = np.stack([np.interp(cell, np.arange(count), one_hot) for one_hot in np.eye(count)], axis=1)
        axes.append(Axis(weights, (position >= 0) & (position < given)))
    return axes


def png(levels: np.ndarray) -> bytes:
    """uint8 [H, W], the heat from 0 to LEVELS - 1 or LEVELS for transparent, as a PNG with a palette."""
    heat = np.linspace(0, 1, LEVELS)
    colours = np.stack([np.interp(heat, RAMP[:, 0], channel) for channel in RAMP[:, 1:].T], axis=1)
    image = Image.fromarray(levels)
    image.putpalette(np.append(colours, [[0, 0, 0]], axis=0).round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes([OPACITY] * LEVELS + [0]), compress_level=1)
    return buffer.getvalue()
