"""Preprocessing: how an image becomes a network's input, as one value with the only arithmetic of its geometry.

Evaluation, the ONNX graph, its metadata, verification and the export targets all take their sizes from here. Pillow's
reference in `decant.export.verification` repeats the arithmetic on purpose: it is the independent check.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

MAX_INPUT_PX = 4096  # no classifier is larger; an untrusted file that asks for more would exhaust the memory


class Side(Protocol):
    """A length in pixels: an int, or a tensor of the ONNX graph (`decant.export.graph.Symbol`)."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side to `resize_px`, then crop the centre square of `input_px`.

    input_px: side of the square input, pixels. crop_ratio: share (0, 1] of the resized shorter side that the crop
    keeps. Applies to RGB images whose EXIF orientation is already applied.
    """

    input_px: int
    crop_ratio: float = 1.0

    @property
    def resize_px(self) -> int:
        """Length of the shorter side after resizing, pixels."""
        return round(self.input_px / self.crop_ratio)

    def resized(self, side: Side, shorter: Side) -> Any:
        """Length of a side after resizing: side * resize_px / shorter, rounded, in integers that a graph can repeat."""
        half = shorter // 2
        return (side * self.resize_px + half) // shorter

    def crop_start(self, resized: Side) -> Any:
        """First pixel of the centre crop along a resized side."""
        return (resized - self.input_px) // 2

    def resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image after resizing, pixels."""
        shorter = min(height, width)
        return self.resized(height, shorter), self.resized(width, shorter)

    def to_dict(self) -> dict[str, Any]:
        """Return the values that `from_dict` reads, ready for JSON."""
        return {"input_px": self.input_px, "crop_ratio": self.crop_ratio}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; further keys are ignored. Raises ValueError for impossible values."""
        try:
            made = cls(int(values["input_px"]), float(values["crop_ratio"]))
            known = 1 <= made.input_px <= MAX_INPUT_PX and 0 < made.crop_ratio <= 1
            known = known and made.resize_px == values.get("resize_px", made.resize_px)
        except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
            raise ValueError(f"no preprocessing: {error!r}") from None
        if not known:
            raise ValueError(f"impossible preprocessing: input_px {made.input_px}, crop_ratio {made.crop_ratio}")
        return made
