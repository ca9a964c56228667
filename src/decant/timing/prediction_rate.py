"""How fast `distill/predict.py` predicts many image files, compared with the bare loop that decodes and predicts."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from decant.data.given_images import GivenImages
from decant.data.images import decode
from decant.export.image_predictions import image_predictions, write_predictions_table
from decant.export.runtime import OnnxClassifier
from decant.timing.random_student import drawn_photo
from decant.timing.turns import ratio_cells

RATE_COLUMNS = (
    "height_px", "width_px", "threads", "images", "rounds", "bare_per_second", "images_per_second",
    "to_bare", "to_bare_low", "to_bare_high",
)  # fmt: skip
DRAWN = 20  # different photos; the files repeat them


def rate_row(model: Path, photos: Path, size: tuple[int, int], threads: int, rounds: int) -> dict[str, object]:
    """Predict the files in `photos` in both ways, in turns, in this process; keys are RATE_COLUMNS.

    threads: of the bare loop's session, and of the images that are predicted at once. Rates are medians over the
    rounds. `to_bare` is the median of the rounds' ratios, `to_bare_low` and `to_bare_high` are the extremes.
    """
    files = sorted(photos.iterdir())
    bare, alone = OnnxClassifier(model, threads), OnnxClassifier(model, threads=1)
    table = photos.with_name("predictions.csv")
    bare_loop(bare, files[:DRAWN])  # untimed
    bare_s, table_s = [], []
    for number in range(rounds):
        for way in (0, 1) if number % 2 == 0 else (1, 0):
            if way == 0:
                bare_s.append(seconds(lambda: bare_loop(bare, files)))
            else:
                table_s.append(seconds(lambda: whole_table(alone, photos, threads, table)))
    return {
        "height_px": size[0],
        "width_px": size[1],
        "threads": threads,
        "images": len(files),
        "rounds": rounds,
        "bare_per_second": len(files) / float(np.median(bare_s)),
        "images_per_second": len(files) / float(np.median(table_s)),
        **ratio_cells("to_bare", bare_s, table_s),
    }


def bare_loop(classifier: OnnxClassifier, files: Sequence[Path]) -> None:
    """Read, decode and predict the files one after the other, without keeping anything."""
    for file in files:
        classifier.predict(decode(file.read_bytes()))


def whole_table(classifier: OnnxClassifier, photos: Path, threads: int, table: Path) -> None:
    """Do what `distill/predict.py` does with a folder: list it, predict its images and write the table."""
    predictions = image_predictions(classifier, GivenImages([photos]), threads)
    write_predictions_table(table, classifier.classes, predictions)


def seconds(work: Callable[[], None]) -> float:
    """The seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def write_photos(folder: Path, size: tuple[int, int], count: int) -> None:
    """Write `count` JPEG files with DRAWN different drawn photos. size: height and width, pixels."""
    folder.mkdir()
    for number in range(min(count, DRAWN)):
        Image.fromarray(drawn_photo(*size, seed=number)).save(folder / f"{number:06d}.jpg", quality=90)
    for number in range(DRAWN, count):
        (folder / f"{number:06d}.jpg").write_bytes((folder / f"{number % DRAWN:06d}.jpg").read_bytes())
