"""Predict the classes of images with an exported file: a CSV with one row per image.

PHOTOS are folders, zip or tar archives, or image files. The columns are path, class (the most probable one), its
probability, accept (true if it reaches the file's thresholds; empty for a file without thresholds), reason (why an
image cannot be read; its prediction is then empty) and p(CLASS) for each class. A checkout and the packages
onnxruntime, numpy and pillow are enough. Exit code: 0 if the CSV was written, also if some images cannot be read; 2 if
no image can be read or an input is missing or wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))  # if decant is not installed

from decant.cores import usable_cores
from decant.data.given_images import GivenImages
from decant.errors import UserError, exit_on_user_error
from decant.evaluation.tables import plural
from decant.export.image_predictions import Counts, image_predictions, write_predictions_table
from decant.export.runtime import OnnxClassifier, require_full_graph
from decant.tracking import progress
from decant.workspace import followed

EXAMPLE = "python distill/predict.py student.onnx photos.zip --csv predictions.csv"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser()
    given = options.parse_args(arguments)
    if given.model is None or not given.photos or given.csv is None:
        options.error("give MODEL, PHOTOS and --csv")
    if given.threads < 1:
        options.error("argument --threads: give a number above 0")
    refuse_to_overwrite(given.csv, [given.model, *given.photos])
    classifier = OnnxClassifier(given.model, threads=1)
    require_full_graph(classifier, given.model)
    images = GivenImages(given.photos)
    predictions = image_predictions(classifier, images, given.threads)
    counts = write_predictions_table(
        given.csv, classifier.classes, progress(predictions, "predicting", len(images), "images")
    )
    print(summary(counts, images.skipped, classifier.thresholds is not None))
    print(f"predictions: {given.csv}")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, epilog=f"example:\n  {EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", nargs="?", type=followed, metavar="MODEL", help="exported file, student.onnx")
    options.add_argument("photos", type=Path, nargs="*", metavar="PHOTOS", help="folders, archives or image files")
    options.add_argument("--csv", type=Path, metavar="FILE", help="the table to write")
    options.add_argument(
        "--threads",
        type=int,
        default=usable_cores(),
        metavar="N",
        help="images that are decoded and predicted at once (default: the usable cores, here %(default)s)",
    )
    return options


def refuse_to_overwrite(table: Path, inputs: Sequence[Path]) -> None:
    """Raise UserError if the table would replace the model, an image or a folder."""
    if table.is_dir():
        raise UserError(f"--csv {table} is a folder; give the name of a file")
    if table.resolve() in {path.resolve() for path in inputs}:
        raise UserError(f"--csv {table} is one of the inputs; give another name")


def summary(counts: Counts, skipped: int, has_thresholds: bool) -> str:
    """The counts in one line."""
    parts = [plural(counts.images, "image")]
    if has_thresholds:
        parts.append(f"{counts.accepted} accepted")
    else:
        parts.append("the file has no thresholds, so accept is empty")
    if counts.unreadable:
        parts.append(f"{counts.unreadable} cannot be read (see reason), first {counts.first_reason}")
    if skipped:
        parts.append(f"{plural(skipped, 'other file')} left out")
    return "; ".join(parts)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
