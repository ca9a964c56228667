"""Which input geometry suits images of given shapes: one where that is clear, else several to be compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from decant.data.geometry import SQUARE, InputGeometry

CROP_KEEPS = 0.9  # a median image that keeps this share in a centre crop is cropped, as networks were pretrained
LARGEST_SPREAD = 0.6  # with a larger one, a single rectangle suits few images


@dataclass(frozen=True)
class Shapes:
    """aspects: width / height of each image, float64 [n]."""

    aspects: np.ndarray

    @property
    def aspect(self) -> float:
        """Median of width / height, as the geometric mean of the middle images."""
        return float(np.exp(np.median(np.log(self.aspects))))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Width / height that a quarter and three quarters of the images do not exceed."""
        low, high = np.exp(np.quantile(np.log(self.aspects), [0.25, 0.75]))
        return float(low), float(high)

    @property
    def spread(self) -> float:
        """Interquartile range of the logarithm of width / height."""
        low, high = self.quartiles
        return math.log(high / low)

    def kept(self, aspect: float) -> float:
        """Median share of an image that a centre crop of this aspect ratio keeps."""
        return float(np.median(np.minimum(self.aspects / aspect, aspect / self.aspects)))

    def __str__(self) -> str:
        low, high = self.quartiles
        return (
            f"images of train have a median aspect ratio of {self.aspect:.2f} (width / height; half of them lie "
            f"between {low:.2f} and {high:.2f}), and a centre square keeps {self.kept(1):.0%} of an image (median)"
        )


def shapes_of(rows: pd.DataFrame) -> Shapes:
    """The shapes of a manifest's rows. Raises ValueError if there are none."""
    if not len(rows):
        raise ValueError("no images, so they have no shapes")
    return Shapes(np.asarray(rows["width"], np.float64) / np.asarray(rows["height"], np.float64))


def candidates(shapes: Shapes, only_square: Sequence[str]) -> list[InputGeometry]:
    """The geometries that may suit the images; the crop alone if the images are nearly square.

    The crop is compared even where it keeps little of an image: it shows the middle larger, and where objects are in
    the middle, small inputs may gain more by that than they lose. only_square: networks that accept square inputs
    only; if there are any, no rectangle is among the candidates.
    """
    if shapes.kept(1) >= CROP_KEEPS:
        return [SQUARE]
    median_is_square = CROP_KEEPS <= shapes.aspect <= 1 / CROP_KEEPS
    if only_square or median_is_square or shapes.spread > LARGEST_SPREAD:
        return [InputGeometry("stretch"), SQUARE]
    return [InputGeometry("stretch"), InputGeometry("stretch", round(shapes.aspect, 2)), SQUARE]


def fit_to(shapes: Shapes, aspect: float) -> InputGeometry:
    """The geometry for inputs of an aspect ratio that the study names: crop where little is lost, else stretch."""
    return InputGeometry("crop" if shapes.kept(aspect) >= CROP_KEEPS else "stretch", aspect)


def described(geometry: InputGeometry) -> str:
    """A geometry in words, for people."""
    shape = "square" if geometry.aspect == 1 else f"{geometry.aspect:.2f} times as wide as high"
    return {
        "crop": f"crop (the centre of the image), inputs {shape}",
        "stretch": f"stretch (the whole image), inputs {shape}",
        "pad": f"pad (the whole image, grey beside it), inputs {shape}",
    }[geometry.fit]
