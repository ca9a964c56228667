"""How far an exported file is from its reference: each image alone, then in batches.

Images are read one at a time: a few numbers are kept of each, and some wait for others of their shape.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime

from decant.export.interface import IMAGES, PREPARED
from decant.export.runtime import BrokenFile, OnnxClassifier, run
from decant.export.verification.pillow_reference import Network

Picture = tuple[str, np.ndarray]  # id, uint8 [H, W, 3]
FILLED_BATCHES = 16  # batches per size that are filled up with made-up images
WAITING_BYTES = 1 << 27  # of the images that wait for a batch of one size
MAX_BATCH_PIXELS = 32_000_000  # 384 MB as the floats that a graph converts them to


class Reference(Protocol):
    """What the file is compared with, in the same two halves: preparation and network."""

    @property
    def name(self) -> str:
        """A description for people."""

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> prepared float32 [3, S, S] in [0, 1]."""

    @property
    def network(self) -> Network | None:
        """Prepared -> logits [K]; None if no network but the file's own is available."""


@dataclass(frozen=True)
class Sessions:
    """Everything that is run.

    tap: images -> prepared, of the file. bare: the network's own file, if there is one. fp32: the file that an int8
    file replaces; its predictions are then the expected ones.
    """

    file: OnnxClassifier
    reference: Reference
    tap: onnxruntime.InferenceSession
    bare: Network | None = None
    fp32: OnnxClassifier | None = None


@dataclass(frozen=True)
class Measured:
    """One image at batch size 1, file against reference. None: there is nothing to compare with.

    grey_levels: largest difference of the prepared images, 0 to 255. network_difference: largest |logit difference|
    of the networks on equal tensors. probability_difference: from softmax(logits / T) in float64.
    """

    id: str
    shape: tuple[int, ...]
    outputs: int  # how many logits
    answered: int  # the file's class
    expected: int | None
    logit_difference: float | None
    network_difference: float | None
    grey_levels: float
    probability_difference: float


@dataclass(frozen=True)
class Waiting:
    """An image that waits for a batch, with its logits at batch size 1."""

    index: int
    picture: np.ndarray
    logits: np.ndarray
    expected: int | None


@dataclass(frozen=True)
class InBatch:
    """One image in a batch: its class there and at batch size 1, and the largest |logit difference| of the two."""

    index: int
    answered: int
    answered_alone: int
    expected: int | None
    difference: float


@dataclass(frozen=True)
class Comparison:
    """singles: every image at batch size 1. batched: batch size -> the images that were in a batch of it."""

    singles: list[Measured]
    batched: dict[int, list[InBatch]]


def compare(sessions: Sessions, pictures: Iterable[Picture], batch_sizes: Sequence[int]) -> Comparison:
    """Compare all images, each read once. Raises BrokenFile if the file fails."""
    found = Comparison([], {size: [] for size in batch_sizes if size > 1})
    queues = [Queue(size) for size in found.batched]
    for index, picture in enumerate(pictures):
        try:
            single, logits = measure(sessions, picture)
        except BrokenFile as error:
            raise BrokenFile(f"{picture[0]}: {error}") from None
        found.singles.append(single)
        if not queues:
            continue
        small = thinned(picture[1], MAX_BATCH_PIXELS // max(batch_sizes))
        if small is not picture[1]:
            single, logits = measure(sessions, (picture[0], small))
        waiting = Waiting(index, small, logits, single.expected)
        for queue in queues:
            found.batched[queue.size].extend(in_batch(sessions.file, queue.add(waiting), queue.size))
    for queue in queues:
        for group in queue.rest():
            found.batched[queue.size].extend(in_batch(sessions.file, group, queue.size))
    return found


def measure(sessions: Sessions, picture: Picture) -> tuple[Measured, np.ndarray]:
    """Compare one image; also return its logits [K] from the file."""
    name, pixels = picture
    probabilities, logits = sessions.file.predict(pixels)
    prepared = sessions.reference.prepare(pixels)
    seen = run(sessions.tap, {IMAGES: pixels[None]}, [PREPARED])[0][0]
    network = sessions.reference.network
    expected: np.ndarray | None = None
    if sessions.fp32 is not None:
        expected = sessions.fp32.predict(pixels)[1]
    elif network is not None:
        expected = network(prepared)
    tempered = softmax(logits.astype(np.float64) / sessions.file.temperature)
    measured = Measured(
        id=name,
        shape=pixels.shape,
        outputs=len(logits),
        answered=int(logits.argmax()),
        expected=None if expected is None else int(expected.argmax()),
        logit_difference=None if expected is None else distance(logits, expected),
        network_difference=None if sessions.fp32 else network_difference(sessions, logits, prepared, expected, seen),
        grey_levels=255 * distance(seen, prepared),
        probability_difference=distance(probabilities, tempered),
    )
    return measured, logits


def network_difference(
    sessions: Sessions, logits: np.ndarray, prepared: np.ndarray, expected: np.ndarray | None, seen: np.ndarray
) -> float | None:
    """On equal tensors: the bare graph on the reference's input, and the reference's network on the file's."""
    network = sessions.reference.network
    if network is None or expected is None:
        return None
    difference = distance(logits, network(seen)) if seen.shape == prepared.shape else math.inf
    if sessions.bare is None or sessions.bare is network:
        return difference
    return max(difference, distance(sessions.bare(prepared), expected))


class Queue:
    """Images that wait for others of their shape, until a batch of `size` is full."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.groups: dict[tuple[int, ...], list[Waiting]] = {}  # the most recent shape is last
        self.bytes = 0

    def add(self, waiting: Waiting) -> list[Waiting]:
        """The batch that this image completes, else an empty list."""
        group = [*self.groups.pop(waiting.picture.shape, []), waiting]
        self.bytes += waiting.picture.nbytes
        if len(group) == self.size:
            self._left(group)
            return group
        self.groups[waiting.picture.shape] = group
        # Images that leave here are not tried in a batch of this size. If all images had different sizes, all would be
        # kept otherwise.
        while self.bytes > WAITING_BYTES and len(self.groups) > 1:
            self._left(self.groups.pop(next(iter(self.groups))))
        return []

    def rest(self) -> list[list[Waiting]]:
        """Of the groups that never filled up, at most FILLED_BATCHES, spread evenly.

        If all images have different sizes, a filled batch per shape would cost `size` predictions per image.
        """
        groups = list(self.groups.values())
        return groups[:: -(-len(groups) // FILLED_BATCHES) or 1]

    def _left(self, group: list[Waiting]) -> None:
        self.bytes -= sum(one.picture.nbytes for one in group)


def in_batch(file: OnnxClassifier, group: Sequence[Waiting], size: int) -> list[InBatch]:
    """Predictions of a batch of `size` for the images of a group, with fillers before them if they are fewer."""
    if not group:
        return []
    real = np.stack([one.picture for one in group])
    _, logits = file.predict_batch(np.concatenate([fillers(real[0], size - len(real)), real]))
    return [
        InBatch(one.index, int(row.argmax()), int(one.logits.argmax()), one.expected, distance(row, one.logits))
        for one, row in zip(group, logits[size - len(real) :], strict=True)
    ]


def thinned(picture: np.ndarray, most_pixels: int) -> np.ndarray:
    """The image itself if it has at most so many pixels, else every second, third ... row and column of it.

    Whether a graph keeps the images of a batch apart shows at any size, and 32 images of 12 megapixels take several
    gigabytes.
    """
    step = math.ceil(math.sqrt(picture.shape[0] * picture.shape[1] / most_pixels))
    return picture if step <= 1 else np.ascontiguousarray(picture[::step, ::step])


def fillers(picture: np.ndarray, count: int) -> np.ndarray:
    """`count` images of the same size that differ from it: inverted and shifted, [count, H, W, 3]."""
    height, width, _ = picture.shape
    shifts = [(step * height // (count + 1), step * width // (count + 1)) for step in range(1, count + 1)]
    shifted = [np.roll(255 - picture, shift, axis=(0, 1)) for shift in shifts]
    return np.stack(shifted) if shifted else np.empty((0, *picture.shape), np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    """[K] -> [K], in the dtype given."""
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest absolute difference; infinite if shapes differ or a value is NaN."""
    if one.shape != other.shape:
        return float("inf")
    largest = float(np.abs(one.astype(np.float64) - other).max())
    return largest if largest == largest else float("inf")
