"""Cost and error of the preprocessing inside an exported file, compared with Pillow, NumPy and PyTorch."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from decant.data.images import BrokenImage, decode
from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.evaluation.tables import write_results_table
from decant.stages.support.command import at_least_one, run
from decant.stages.support.provenance import RANDOM_STUDENT, measured_file, record_measurement
from decant.study_files import ROOT
from decant.timing.preprocessing_cost import COST_COLUMNS, cost_row
from decant.timing.preprocessing_error import PREPROCESSING_ERROR_COLUMNS, preprocessing_error_rows
from decant.timing.random_student import drawn_photo, exported_random_student
from decant.workspace import followed

GREY_LEVELS = ("border_grey_levels", "inner_grey_levels")
GEOMETRIES = (
    Preprocessing(128),
    Preprocessing(128, 1.0, "stretch"),
    Preprocessing((96, 176), 1.0, "stretch"),
    Preprocessing(128, 1.0, "pad"),
)
SIZES = ((300, 400), (208, 300), (100, 100))  # height and width of the drawn photos, pixels


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/preprocessing.py --model runs/demo/export/latest/student.onnx",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=followed, metavar="FILE", help="a student.onnx with its bare graph in the same"
                        " folder (default: EfficientNet-Lite0 with random weights, one per geometry)")  # fmt: skip
    parser.add_argument("--photo", type=Path, metavar="FILE", help="time on this image (default: drawn ones)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of ONNX Runtime (default: 1 2)")
    parser.add_argument("--calls", type=at_least_one, default=500, help="timed calls per contender (default: 500)")
    parser.add_argument(
        "--images", type=at_least_one, default=1000, help="images per model compared with PyTorch (default: 1000)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "export", help="folder for the tables (default: results/export)"
    )
    given = parser.parse_args(arguments)
    photos = [photo_of(given.photo)] if given.photo else [drawn_photo(*size) for size in SIZES]
    with tempfile.TemporaryDirectory() as folder:
        models = [given.model] if given.model else [
            exported_random_student(Path(folder) / str(number), geometry) for number, geometry in enumerate(GEOMETRIES)
        ]  # fmt: skip
        costs = [
            cost_row(model, photo, threads, given.calls)
            for model in models
            for photo in photos
            for threads in given.threads
        ]
        errors = [row for model in models for row in preprocessing_error_rows(model, given.images)]
    write_results_table(costs, given.out / "preprocessing.csv", COST_COLUMNS)
    write_results_table(errors, given.out / "fidelity.csv", PREPROCESSING_ERROR_COLUMNS)
    measured = measured_file(given.model) if given.model else RANDOM_STUDENT
    record_measurement(given.out, ["preprocessing.csv", "fidelity.csv"], measured)
    for row in costs:
        print(
            "{fit} {input_px} px: {height_px} x {width_px}, threads {threads}: the file takes {full_to_apart:.3f} of "
            "the time of Pillow and the bare graph, and {cpu_full_to_apart:.3f} of their CPU time".format(**row)
        )
    largest = np.max([[row[column] for column in GREY_LEVELS] for row in errors])
    print(f"largest error of the preprocessing: {largest:.4f} of 255 grey levels")
    print(f"tables: {given.out / 'preprocessing.csv'}, {given.out / 'fidelity.csv'}")


def photo_of(path: Path) -> np.ndarray:
    """Read an image file as uint8 [H, W, 3], RGB, upright. Raises UserError if it is no image file."""
    if not path.is_file():
        raise UserError(f"{path} is not a file; pass an image file as --photo, or omit --photo")
    try:
        return decode(path.read_bytes())
    except BrokenImage as error:
        raise UserError(f"{path}: {error}; pass another image as --photo, or omit --photo") from None


if __name__ == "__main__":
    run(main)
