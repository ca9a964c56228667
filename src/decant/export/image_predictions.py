"""An exported file's predictions for many images, as a table with one row per image. Needs only NumPy, ONNX Runtime
and Pillow.

Images are predicted one per call: a batch would need images of one size, and an int8 file may give another class in a
batch than alone. Several threads decode and predict at once, each with a call of its own on one core.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from decant.data.images import BrokenImage, decode
from decant.data.pool import parallel
from decant.errors import UserError
from decant.evaluation.tables import cell, probability
from decant.export.runtime import BrokenFile, OnnxClassifier
from decant.workspace import replacing

COLUMNS = ("path", "class", "probability", "accept", "reason")  # before a column per class
AHEAD = 4  # images in memory per thread

EncodedImage = tuple[str, bytes | BrokenImage]  # name, content


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction for one image.

    probabilities: float32 [K]; None if the image cannot be read, and `reason` then says why. accept: None if the file
    has no threshold.
    """

    path: str
    probabilities: np.ndarray | None = None
    accept: bool | None = None
    reason: str = ""


@dataclass
class Counts:
    """How many images were written, could not be read and were accepted, and the first reason and its image."""

    images: int = 0
    unreadable: int = 0
    accepted: int = 0
    first_reason: str = ""


def image_predictions(
    classifier: OnnxClassifier, images: Iterable[EncodedImage], threads: int
) -> Iterator[ImagePrediction]:
    """Predict images in their order, with bounded memory.

    classifier: opened with one thread, because `threads` calls run at once.
    """
    predict = partial(predict_image, classifier)
    if threads == 1:  # a pool of one gains nothing
        return map(predict, images)
    return parallel(predict, images, threads, AHEAD * threads)


def predict_image(classifier: OnnxClassifier, image: EncodedImage) -> ImagePrediction:
    """Decode and predict one image. The result has a reason if it cannot be decoded, or if the file fails on it."""
    path, content = image
    try:
        if isinstance(content, BrokenImage):
            raise content
        probabilities, logits = classifier.predict(decode(content))
    except (BrokenImage, BrokenFile) as error:
        return ImagePrediction(path, reason=str(error))
    return ImagePrediction(path, probabilities, classifier.accepts(probabilities, logits))


def write_predictions_table(path: Path, classes: Sequence[str], predictions: Iterable[ImagePrediction]) -> Counts:
    """Write one row per image as they come, into a file beside `path` that replaces it at the end.

    Columns: COLUMNS, then `p(<class>)` for each class. Names of files and classes are written unchanged. Raises
    UserError if no image can be read; then nothing is written.
    """
    counts = Counts()
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"p({name})" for name in classes)])
        for prediction in predictions:
            writer.writerow(cells(prediction, classes))
            counts.images += 1
            counts.accepted += prediction.accept is True
            if prediction.reason:
                counts.unreadable += 1
                counts.first_reason = counts.first_reason or f"{prediction.path}: {prediction.reason}"
        if counts.unreadable == counts.images:
            raise UserError(f"no image can be read, of {counts.images} given; first {counts.first_reason}")
    return counts


def cells(prediction: ImagePrediction, classes: Sequence[str]) -> list[str]:
    """The row of one image; class, probabilities and accept are empty if it could not be read."""
    probabilities = prediction.probabilities
    if probabilities is None:
        return [prediction.path, "", "", "", prediction.reason, *("" for _ in classes)]
    best = int(probabilities.argmax())
    texts = [probability(value) for value in probabilities.tolist()]
    return [prediction.path, classes[best], texts[best], cell("accept", prediction.accept), "", *texts]
