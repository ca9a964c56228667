"""Preprocessing: the sizes that turn an image into a network's input, and the only arithmetic on them.

Evaluation, the ONNX graph, its metadata, verification and the export targets all take their sizes from here. The
Pillow reference in `decant.export.verification` repeats the arithmetic on purpose, as an independent check.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

MAX_INPUT_PX = 4096  # larger than any classifier's input; a limit, because untrusted files could exhaust the memory


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
        """Length of a side after resizing: side * resize_px / shorter, rounded, in integers as in the ONNX graph."""
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
            preprocessing = cls(int(values["input_px"]), float(values["crop_ratio"]))
            valid = 1 <= preprocessing.input_px <= MAX_INPUT_PX and 0 < preprocessing.crop_ratio <= 1
            valid = valid and preprocessing.resize_px == values.get("resize_px", preprocessing.resize_px)
        except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
            raise ValueError(f"not a preprocessing: {error!r}") from None
        if not valid:
            raise ValueError(
                f"impossible preprocessing: input_px {preprocessing.input_px}, crop_ratio {preprocessing.crop_ratio}"
            )
        return preprocessing
