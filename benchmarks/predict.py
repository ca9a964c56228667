"""Speed of distill/predict.py on many image files, compared with the bare loop that decodes and predicts."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from decant.evaluation.tables import short, write_results_table
from decant.stages.support.command import at_least_one, run
from decant.stages.support.provenance import RANDOM_STUDENT, measured_file, record_measurement
from decant.study_files import ROOT
from decant.timing.prediction_rate import RATE_COLUMNS, rate_row, write_photos
from decant.timing.random_student import exported_random_student
from decant.workspace import followed

SIZES = ((300, 400), (1200, 1600))  # height and width of the drawn photos, pixels


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/predict.py --model runs/demo/export/latest/student.onnx",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=followed, metavar="FILE", help="a student.onnx (default: an EfficientNet-Lite0"
                        " with random weights, 128 px)")  # fmt: skip
    parser.add_argument("--threads", type=at_least_one, nargs="+", default=[1, 2], help="threads (default: 1 2)")
    parser.add_argument("--images", type=at_least_one, default=200, help="image files per size (default: 200)")
    parser.add_argument("--rounds", type=at_least_one, default=7, help="timed rounds (default: 7)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "export", help="folder for the table (default: results/export)"
    )
    given = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or exported_random_student(Path(folder))
        for size in SIZES:
            photos = Path(folder) / f"{size[0]}x{size[1]}"
            write_photos(photos, size, given.images)
            rows += [rate_row(model, photos, size, threads, given.rounds) for threads in given.threads]
    write_results_table(rows, given.out / "predict.csv", RATE_COLUMNS)
    record_measurement(given.out, ["predict.csv"], measured_file(given.model) if given.model else RANDOM_STUDENT)
    for row in rows:
        ratio = short(str(row["to_bare"]))
        print("{height_px} x {width_px}, threads {threads}: ".format(**row) + f"{ratio} of the bare loop's rate")
    print(f"table: {given.out / 'predict.csv'}")


if __name__ == "__main__":
    run(main)
