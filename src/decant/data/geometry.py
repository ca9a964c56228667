"""InputGeometry: how every network of a study sees an image, whatever the size of its own input."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from decant.data.preprocessing import Fit, InputPx, Preprocessing, as_input_px, height_width

LEAST_SIDE = 32  # networks halve their input five times; a shorter side would vanish
STEPS = ((96, 16), (0, 8))  # (least side, step): a rectangle's sides are multiples, for the strides of networks


@dataclass(frozen=True)
class InputGeometry:
    """fit: as in Preprocessing. aspect: width / height of every input, up to the rounding of its sides.

    Inputs of one aspect ratio show the same part of an image, at any number of pixels.
    """

    fit: Fit = "crop"
    aspect: float = 1.0

    def input_px(self, study_px: InputPx) -> InputPx:
        """The input of a network. study_px: a pair is kept, a side becomes the rectangle with about as many pixels."""
        return study_px if self.aspect == 1 or not isinstance(study_px, int) else rectangle(study_px, self.aspect)

    def preprocessing(self, study_px: InputPx, crop_ratio: float) -> Preprocessing:
        """The preprocessing of a network whose `input_px` in the study is `study_px`."""
        return Preprocessing(self.input_px(study_px), crop_ratio, self.fit)


SQUARE = InputGeometry()


def rectangle(side: int, aspect: float) -> InputPx:
    """The height and width, multiples of a step, that are nearest to `aspect` and to the pixels of a square.

    96 x 176 for a side of 128 and an aspect ratio of 1.87. Distances are ratios, on a logarithmic scale.
    """
    step = next(step for least, step in STEPS if side >= least)
    exact = side / math.sqrt(aspect), side * math.sqrt(aspect)

    def distance(shape: tuple[int, int]) -> float:
        height, width = shape
        return abs(math.log(width / height / aspect)) + abs(math.log(height * width / side**2))

    shortest = min(side, LEAST_SIDE)
    heights, widths = (sorted({max(near, shortest) for near in multiples(length, step)}) for length in exact)
    pairs = itertools.product(heights, widths)
    return as_input_px(min(pairs, key=distance))


def multiples(length: float, step: int) -> Iterable[int]:
    """The multiples of `step` on both sides of a length."""
    below = math.floor(length / step) * step
    return max(below, step), below + step


def aspect_of(input_px: InputPx) -> float:
    """Width / height of an input."""
    height, width = height_width(input_px)
    return width / height
