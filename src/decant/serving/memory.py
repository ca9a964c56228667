"""The memory that requests take: the bytes of their bodies, and the pixels of their images while they are predicted."""

import ctypes
import json
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from decant.export.runtime import OnnxClassifier
from decant.serving.deadline import Deadline

# The graph takes about 6 + 18 * max(1, wideness) MB per megapixel, so that a photo of 4:3 in a square input has 30.
PHOTO_WIDENESS = 4 / 3
NO_MEMORY = "no memory was free"
M_ARENA_MAX = -8  # glibc's malloc.h


def counted_pixels(classifier: OnnxClassifier, height: int, width: int) -> int:
    """The number of pixels of a usual photo that take as much memory as this image; each takes up to 30 bytes.

    It is above height * width for an image that is far wider or far higher than the file's input. Older files that
    stretch or pad weigh as many source pixels on either axis as the larger reduction needs, first for each column of
    the image and then for each column of the input. So their memory grows with the square of the width: an image of
    20000 x 100 pixels would take gigabytes.
    """
    rows, columns = wide_input(classifier)
    return max(width, columns) * max(height, -(-width * rows // columns))


def wide_input(classifier: OnnxClassifier) -> tuple[int, int]:
    """Height and width of the input that the width is compared with; (0, 1) for a graph that crops, without this cost.

    (1, 1), a square, if the metadata lack it.
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


class Budget:
    """How many bytes, or pixels, are in use at once: the memory must not grow with the number of clients."""

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self._free = amount
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, amount: int, deadline: Deadline) -> Iterator[None]:
        """Hold `amount`, at most the whole budget, in the block. Raises Busy if it is not free before the deadline."""
        if not deadline.left_s or not self._turn.acquire(timeout=deadline.left_s):
            raise deadline.busy(NO_MEMORY)
        try:  # in turn, so that small amounts do not starve a large one
            with self._changed:
                if not self._changed.wait_for(lambda: self._free >= amount, deadline.left_s):
                    raise deadline.busy(NO_MEMORY)
                self._free -= amount
        finally:
            self._turn.release()
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


def share_freed_memory() -> None:
    """Let all threads of this process use what any of them has freed. Call it before threads begin.

    glibc's malloc has a pool for each thread, which keeps what the thread's images took: with 16 threads that answer
    one image of 12 megapixels after the other, it keeps 600 MB. Other C libraries are not changed.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
