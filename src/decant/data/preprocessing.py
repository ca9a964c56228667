"""Preprocessing: the sizes that turn an image into a network's input, and the only arithmetic on them.

Evaluation, the ONNX graph, its metadata, verification and the export targets all take their sizes from here. The
Pillow reference in `decant.export.verification` repeats the arithmetic on purpose, as an independent check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, get_args

Fit = Literal["crop", "stretch", "pad"]
InputPx = int | tuple[int, int]  # side of a square, or height and width
FITS: tuple[str, ...] = get_args(Fit)
MAX_INPUT_PX = 4096  # larger than any classifier's input; a limit, because untrusted files could exhaust the memory
FILL = 128  # grey level around a padded image, in every channel: timm fills with the network's mean, often 0.5


class Side(Protocol):
    """A length in pixels: an int, or a tensor of the ONNX graph (`decant.export.graph.Symbol`)."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...


@dataclass(frozen=True)
class Preprocessing:
    """Resize an image to fit a box of `resize_px`, then take its centre of `input_px`.

    crop: the resized image covers the box, its aspect ratio is kept. stretch: it becomes the box. pad: it lies within
    the box, its aspect ratio is kept, and pixels outside it have the grey level FILL.

    input_px: side of a square input or (height, width), pixels; a pair of equal sides becomes one side. crop_ratio:
    share (0, 1] of the box's height and width that the input keeps. Applies to RGB images whose EXIF orientation is
    already applied.
    """

    input_px: InputPx
    crop_ratio: float = 1.0
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_px", as_input_px(height_width(self.input_px)))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels."""
        return height_width(self.input_px)

    @property
    def resize_px(self) -> InputPx:
        """Side, or height and width, of the box that the resized image fits, pixels."""
        return as_input_px(self.box)

    @property
    def box(self) -> tuple[int, int]:
        """Height and width of the same box."""
        height, width = self.shape
        return round(height / self.crop_ratio), round(width / self.crop_ratio)

    def resized(self, side: Side, height: Side, width: Side) -> Any:
        """Length of a side, height or width, after a resize that keeps the aspect ratio: to crop or to pad.

        In integers as in the ONNX graph. An image that is stretched gets the box's sides instead.
        """
        by_height, by_width = (scaled(side, new, old) for new, old in zip(self.box, (height, width), strict=True))
        return larger(by_height, by_width) if self.fit == "crop" else larger(smaller(by_height, by_width), 1)

    def crop_start(self, resized: Side, input_side: Any) -> Any:
        """First pixel of the resized side that the input shows."""
        return (resized - self.shown(resized, input_side)) // 2

    def pad_start(self, resized: Side, input_side: Any) -> Any:
        """First pixel of the input's side that shows the image."""
        return (input_side - self.shown(resized, input_side)) // 2

    def shown(self, resized: Side, input_side: Any) -> Any:
        """How many pixels of the resized side the input shows."""
        return smaller(resized, input_side) if self.fit == "pad" else input_side

    def resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image after resizing, pixels."""
        if self.fit == "stretch":
            return self.box
        return self.resized(height, height, width), self.resized(width, height, width)

    def to_dict(self) -> dict[str, Any]:
        """Return the values that `from_dict` reads, ready for JSON."""
        input_px = self.input_px if isinstance(self.input_px, int) else list(self.input_px)
        return {"input_px": input_px, "crop_ratio": self.crop_ratio, "fit": self.fit}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; further keys are ignored, and files without `fit` crop.

        Raises ValueError for impossible values.
        """
        try:
            preprocessing = cls(read_px(values["input_px"]), float(values["crop_ratio"]), values.get("fit", "crop"))
            valid = all(1 <= side <= MAX_INPUT_PX for side in preprocessing.shape) and 0 < preprocessing.crop_ratio <= 1
            valid = valid and preprocessing.fit in FITS
            valid = valid and preprocessing.resize_px == read_px(values.get("resize_px", preprocessing.resize_px))
        except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
            raise ValueError(f"not a preprocessing: {error!r}") from None
        if not valid:
            raise ValueError(f"impossible preprocessing: {preprocessing}")
        return preprocessing


def height_width(input_px: InputPx | Sequence[int]) -> tuple[int, int]:
    """Height and width of a square's side, or of a pair."""
    if isinstance(input_px, int):
        return input_px, input_px
    height, width = input_px
    return height, width


def as_input_px(shape: tuple[int, int]) -> InputPx:
    """The side of a square, else (height, width)."""
    return shape[0] if shape[0] == shape[1] else shape


def read_px(value: Any) -> InputPx:
    """A side or a pair from JSON. Raises TypeError, ValueError or OverflowError for anything else."""
    if not isinstance(value, list | tuple):
        return int(value)
    height, width = value
    return as_input_px((int(height), int(width)))


def size_text(input_px: InputPx | Sequence[int]) -> str:
    """The input's size for people and tables: `128`, or `96x176` (height x width)."""
    height, width = height_width(input_px)
    return str(height) if height == width else f"{height}x{width}"


def scaled(side: Side, new: int, old: Side) -> Any:
    """side * new / old, rounded, halves up."""
    return (side * new + old // 2) // old


def larger(first: Any, second: Any) -> Any:
    """The maximum of two ints, or of a tensor of the ONNX graph and another length."""
    return max(first, second) if isinstance(first, int) else first.larger(second)


def smaller(first: Any, second: Any) -> Any:
    """The minimum of two ints, or of a tensor of the ONNX graph and another length."""
    return min(first, second) if isinstance(first, int) else first.smaller(second)
