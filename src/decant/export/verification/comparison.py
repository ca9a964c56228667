"""Differences between an exported file and its reference, for each image alone and in batches.

Images are read one at a time. Of each image a few numbers are kept; some images are also kept until others of the same
shape fill a batch.
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

ImageWithId = tuple[str, np.ndarray]  # id, uint8 [H, W, 3]
FILLED_BATCHES = 16  # largest number of batches per batch size that are filled up with synthetic images
WAITING_BYTES = 1 << 27  # the largest sum, per batch size, of the images that wait for a batch
MAX_BATCH_PIXELS = 32_000_000  # 384 MB after the graph has converted them to float32


class Reference(Protocol):
    """What the file is compared with, in the same two steps: preparation and network."""

    @property
    def name(self) -> str:
        """A description for people."""

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> prepared float32 [3, height, width] in [0, 1]."""

    @property
    def network(self) -> Network | None:
        """Prepared -> logits [K]; None if only the file's own network is available."""


@dataclass(frozen=True)
class Sessions:
    """The sessions that a comparison runs: the file, its parts and its reference.

    tap: the file's own preprocessing, images -> prepared. bare: the bare graph beside the file, if it exists. fp32: the
    file that an int8 file replaces; the expected predictions are then this file's.
    """

    file: OnnxClassifier
    reference: Reference
    tap: onnxruntime.InferenceSession
    bare: Network | None = None
    fp32: OnnxClassifier | None = None


@dataclass(frozen=True)
class Measured:
    """One image at batch size 1, compared with the reference. None: there is nothing to compare with.

    grey_levels: largest difference of the prepared images, 0 to 255. network_difference: largest |logit difference|
    of the networks on equal tensors. probability_difference: from softmax(logits / T) in float64.
    """

    id: str
    shape: tuple[int, ...]
    outputs: int  # how many logits
    predicted: int  # class
    expected: int | None
    logit_difference: float | None
    network_difference: float | None
    grey_levels: float
    probability_difference: float


@dataclass(frozen=True)
class Waiting:
    """An image that waits for a batch, with its logits at batch size 1."""

    index: int
    image: np.ndarray
    logits: np.ndarray
    expected: int | None


@dataclass(frozen=True)
class InBatch:
    """One image in a batch: its class in the batch and alone, and the largest |logit difference| of the two."""

    index: int
    predicted: int
    predicted_alone: int
    expected: int | None
    difference: float


@dataclass(frozen=True)
class Comparison:
    """singles: every image at batch size 1. batched: batch size above 1 -> the images that were in such a batch."""

    singles: list[Measured]
    batched: dict[int, list[InBatch]]


def compare(sessions: Sessions, images: Iterable[ImageWithId], batch_sizes: Sequence[int]) -> Comparison:
    """Compare all images, each read once. Raises BrokenFile if the file fails on an image."""
    comparison = Comparison([], {size: [] for size in batch_sizes if size > 1})
    queues = [Queue(size) for size in comparison.batched]
    for index, (id_, image) in enumerate(images):
        try:
            single, logits = measure(sessions, id_, image)
        except BrokenFile as error:
            raise BrokenFile(f"{id_}: {error}") from None
        comparison.singles.append(single)
        if not queues:
            continue
        small = thinned(image, MAX_BATCH_PIXELS // max(batch_sizes))
        if small is not image:
            single, logits = measure(sessions, id_, small)
        waiting = Waiting(index, small, logits, single.expected)
        for queue in queues:
            comparison.batched[queue.size].extend(in_batch(sessions.file, queue.add(waiting), queue.size))
    for queue in queues:
        for group in queue.rest():
            comparison.batched[queue.size].extend(in_batch(sessions.file, group, queue.size))
    return comparison


def measure(sessions: Sessions, id_: str, image: np.ndarray) -> tuple[Measured, np.ndarray]:
    """Compare one image; also return the file's logits [K] for it."""
    probabilities, logits = sessions.file.predict(image)
    prepared = sessions.reference.prepare(image)
    prepared_by_file = run(sessions.tap, {IMAGES: image[None]}, [PREPARED])[0][0]  # its network's input
    network = sessions.reference.network
    expected: np.ndarray | None = None
    if sessions.fp32 is not None:
        expected = sessions.fp32.predict(image)[1]
    elif network is not None:
        expected = network(prepared)
    difference = None
    if sessions.fp32 is None:
        difference = network_difference(sessions, logits, prepared, expected, prepared_by_file)
    tempered = softmax(logits.astype(np.float64) / sessions.file.temperature)
    measured = Measured(
        id=id_,
        shape=image.shape,
        outputs=len(logits),
        predicted=int(logits.argmax()),
        expected=None if expected is None else int(expected.argmax()),
        logit_difference=None if expected is None else distance(logits, expected),
        network_difference=difference,
        grey_levels=255 * distance(prepared_by_file, prepared),
        probability_difference=distance(probabilities, tempered),
    )
    return measured, logits


def network_difference(
    sessions: Sessions,
    logits: np.ndarray,
    prepared: np.ndarray,
    expected: np.ndarray | None,
    prepared_by_file: np.ndarray,
) -> float | None:
    """The largest |logit difference| of two networks with equal input; None without a second network.

    logits, expected: [K]. prepared, prepared_by_file: float32 [3, height, width]. The file is compared with the
    reference's network on the image that the file prepared, and the bare graph with the reference's network on the
    image that the reference prepared.
    """
    network = sessions.reference.network
    if network is None or expected is None:
        return None
    difference = distance(logits, network(prepared_by_file)) if prepared_by_file.shape == prepared.shape else math.inf
    if sessions.bare is None or sessions.bare is network:
        return difference
    return max(difference, distance(sessions.bare(prepared), expected))


class Queue:
    """Images that wait until `size` of them have the same shape and fill a batch."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.groups: dict[tuple[int, ...], list[Waiting]] = {}  # shape -> images; the most recent shape is last
        self.bytes = 0

    def add(self, waiting: Waiting) -> list[Waiting]:
        """The batch that this image completes, else an empty list."""
        group = [*self.groups.pop(waiting.image.shape, []), waiting]
        self.bytes += waiting.image.nbytes
        if len(group) == self.size:
            self._subtract(group)
            return group
        self.groups[waiting.image.shape] = group
        # Images dropped here are never in a batch of this size. Without a limit, images that all have different shapes
        # would all be kept in memory.
        while self.bytes > WAITING_BYTES and len(self.groups) > 1:
            self._subtract(self.groups.pop(next(iter(self.groups))))
        return []

    def rest(self) -> list[list[Waiting]]:
        """At most FILLED_BATCHES of the groups that never filled a batch, evenly spaced.

        If all images have different shapes, one filled batch per shape would cost `size` predictions per image.
        """
        groups = list(self.groups.values())
        return groups[:: -(-len(groups) // FILLED_BATCHES) or 1]

    def _subtract(self, group: list[Waiting]) -> None:
        self.bytes -= sum(waiting.image.nbytes for waiting in group)


def in_batch(file: OnnxClassifier, group: Sequence[Waiting], size: int) -> list[InBatch]:
    """Predict a group in a batch of `size`, with fillers before the images if there are fewer."""
    if not group:
        return []
    real = np.stack([waiting.image for waiting in group])
    _, logits = file.predict_batch(np.concatenate([fillers(real[0], size - len(real)), real]))
    return [
        InBatch(alone.index, int(row.argmax()), int(alone.logits.argmax()), alone.expected, distance(row, alone.logits))
        for alone, row in zip(group, logits[size - len(real) :], strict=True)
    ]


def thinned(image: np.ndarray, max_pixels: int) -> np.ndarray:
    """The image [H, W, 3] itself if it has at most `max_pixels`, else every second, third ... row and column of it.

    A graph that mixes the images of a batch does so at any size, and 32 images of 12 megapixels need several gigabytes.
    """
    step = math.ceil(math.sqrt(image.shape[0] * image.shape[1] / max_pixels))
    return image if step <= 1 else np.ascontiguousarray(image[::step, ::step])


def fillers(image: np.ndarray, count: int) -> np.ndarray:
    """`count` images of the same shape that differ from `image` (inverted and shifted): [count, H, W, 3]."""
    height, width, _ = image.shape
    shifts = [(step * height // (count + 1), step * width // (count + 1)) for step in range(1, count + 1)]
    shifted = [np.roll(255 - image, shift, axis=(0, 1)) for shift in shifts]
    return np.stack(shifted) if shifted else np.empty((0, *image.shape), np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    """[K] -> [K], in the dtype of the logits."""
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The largest absolute difference; infinite if the shapes differ or a value is NaN."""
    if first.shape != second.shape:
        return float("inf")
    largest = float(np.abs(first.astype(np.float64) - second).max())
    return largest if largest == largest else float("inf")
