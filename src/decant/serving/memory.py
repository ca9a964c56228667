"""The memory that images take while they are decoded and predicted, counted in pixels of a photo with usual sides."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from decant.export.runtime import OnnxClassifier
from decant.serving.batching import Busy

# The graph takes about 6 + 18 * max(1, wideness) MB per megapixel, so that a photo of 4:3 in a square input has 30.
PHOTO_WIDENESS = 4 / 3


def counted_pixels(classifier: OnnxClassifier, height: int, width: int) -> int:
    """The pixels of an image, more for one that is far wider than the file's input, or far higher.

    Older files that stretch or pad weigh as many source pixels on either axis as the larger reduction needs, first for
    each column of the image and then for each column of the input. So their memory grows with the square of the width:
    an image of 20000 x 100 pixels would take gigabytes.
    """
    rows, columns = wide_input(classifier)
    return max(width, columns) * max(height, -(-width * rows // columns))


def wide_input(classifier: OnnxClassifier) -> tuple[int, int]:
    """Height and width of the input that the width is compared with; (0, 1) for a graph that crops, without this cost.

    A square if the metadata do not tell.
    """
    try:
        steps = json.loads(classifier.metadata["preprocessing"])
        if steps.get("fit", "crop") == "crop":
            return 0, 1
        sides = steps["input_px"]
        rows, columns = sides if isinstance(sides, list) else (sides, sides)
        return max(1, int(rows)), max(1, int(columns))
    except (KeyError, ValueError, TypeError, AttributeError):
        return 1, 1


class PixelBudget:
    """How many pixels are decoded and predicted at once: the memory must not grow with the number of clients."""

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, pixels: int, timeout_s: float) -> Iterator[None]:
        """Hold that many pixels, at most all of them. Raises Busy if they are not free in time."""
        if not self._turn.acquire(timeout=timeout_s):  # in turn, so that small images do not starve a large one
            raise busy(timeout_s)
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: self._free >= pixels, timeout_s):
                    raise busy(timeout_s)
                self._free -= pixels
        finally:
            self._turn.release()
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


def busy(timeout_s: float) -> Busy:
    """The error of a budget that is not free in time."""
    return Busy(f"no memory was free within {timeout_s:g} s: too many images wait; try again later")
