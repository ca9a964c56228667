"""Measuring how far an exported file is from its reference: picture by picture, then in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

from decant.export.independent import run_network
from decant.export.interface import IMAGES, PREPARED
from decant.export.runtime import OnnxClassifier, run

Picture = tuple[str, np.ndarray]  # id, uint8 [H, W, 3]
Reference = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # picture -> prepared [3, S, S], logits [K]
FILLED_BATCHES = 16  # how many batches of each size are filled up with made pictures


@dataclass(frozen=True)
class Measured:
    """One picture at batch 1, file against reference.

    grey_levels: largest difference of the prepared pictures, 0 to 255; None where the file cannot be cut.
    network_difference: largest |logit difference| of the networks on the reference's prepared picture; None
    where no network but the reference's own is at hand.
    """

    id: str
    shape: tuple[int, ...]
    logits: np.ndarray  # the file's, [K]
    expected: int
    logit_difference: float
    network_difference: float | None
    grey_levels: float | None
    probability_difference: float  # from softmax(logits / T) in float64

    @property
    def answered(self) -> int:
        """The file's class."""
        return int(self.logits.argmax())


@dataclass(frozen=True)
class InBatch:
    """One picture in a batch: its class there, and the largest |logit difference| from batch 1."""

    index: int
    answered: int
    difference: float


def measure(
    classifier: OnnxClassifier,
    picture: Picture,
    reference: Reference,
    networks: Mapping[str, onnxruntime.InferenceSession],
    before: onnxruntime.InferenceSession | None,
) -> Measured:
    """Compare one picture. networks: those to hold against the reference; before: images -> prepared."""
    prepared, expected = reference(picture[1])
    probabilities, logits = classifier.predict(picture[1])
    differences = [distance(run_network(network, prepared), expected) for network in networks.values()]
    grey = None
    if before is not None:
        grey = 255 * distance(run(before, {IMAGES: picture[1][None]}, [PREPARED])[0][0], prepared)
    tempered = softmax(logits.astype(np.float64) / float(classifier.metadata.get("temperature", 1)))
    return Measured(
        id=picture[0],
        shape=picture[1].shape,
        logits=logits,
        expected=int(expected.argmax()),
        logit_difference=distance(logits, expected),
        network_difference=max(differences) if differences else None,
        grey_levels=grey,
        probability_difference=distance(probabilities, tempered),
    )


def measure_batches(
    classifier: OnnxClassifier, pictures: Sequence[Picture], singles: Sequence[Measured], batch_size: int
) -> list[InBatch]:
    """The same pictures in batches of equal sizes. Where a size has too few, made ones stand before them."""
    found = []
    for indices in batches([one.shape for one in singles], batch_size):
        real = np.stack([pictures[index][1] for index in indices])
        _, logits = classifier.predict_batch(np.concatenate([made(real[0], batch_size - len(real)), real]))
        for index, row in zip(indices, logits[batch_size - len(real) :], strict=True):
            found.append(InBatch(index, int(row.argmax()), distance(row, singles[index].logits)))
    return found


def batches(shapes: Sequence[tuple[int, ...]], batch_size: int) -> Iterator[list[int]]:
    """Indices of pictures of one shape, at most `batch_size`: all full batches, some of those to be filled.

    Photos mostly come in sizes of their own; a batch filled for each would cost `batch_size` answers a photo.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(index)
    chunks = [group[at : at + batch_size] for group in groups.values() for at in range(0, len(group), batch_size)]
    partial = [chunk for chunk in chunks if len(chunk) < batch_size]
    every = -(-len(partial) // FILLED_BATCHES) or 1
    yield from (chunk for chunk in chunks if len(chunk) == batch_size)
    yield from partial[::every]


def made(picture: np.ndarray, count: int) -> np.ndarray:
    """`count` pictures of the same size that differ from it: inverted and shifted, [count, H, W, 3]."""
    height, width, _ = picture.shape
    shifts = [(step * height // (count + 1), step * width // (count + 1)) for step in range(1, count + 1)]
    shifted = [np.roll(255 - picture, shift, axis=(0, 1)) for shift in shifts]
    return np.stack(shifted) if shifted else np.empty((0, *picture.shape), np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    """[K] -> [K], in the dtype given."""
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest absolute difference; infinite where shapes differ or something is not a number."""
    if one.shape != other.shape:
        return float("inf")
    largest = float(np.abs(one.astype(np.float64) - other).max())
    return largest if largest == largest else float("inf")
