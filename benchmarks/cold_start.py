"""Cold start: the time from the start of a program to the class of its first photo, step by step."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from decant.evaluation.tables import write_results_table
from decant.stages.support.command import at_least_one, run
from decant.stages.support.provenance import RANDOM_STUDENT, measured_file, record_measurement
from decant.study_files import ROOT
from decant.timing.cold_start import COLD_START_COLUMNS, cold_start_row
from decant.timing.random_student import drawn_photo, exported_random_student
from decant.workspace import followed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/cold_start.py --model runs/demo/export/latest/student.onnx",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=followed, metavar="FILE", help="a student.onnx (default: an EfficientNet-Lite0"
                        " with random weights, 128 px)")  # fmt: skip
    parser.add_argument("--photo", type=Path, metavar="FILE", help="the image (default: a drawn one, 400 x 300 JPEG)")
    parser.add_argument("--processes", type=at_least_one, default=15, help="number of timed processes (default: 15)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "export", help="folder for the table (default: results/export)"
    )
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "photo.jpg"
        Image.fromarray(drawn_photo(300, 400)).save(drawn, quality=90)
        row = cold_start_row(
            given.model or exported_random_student(Path(folder)), given.photo or drawn, given.processes
        )
    write_results_table([row], given.out / "cold_start.csv", COLD_START_COLUMNS)
    record_measurement(given.out, ["cold_start.csv"], measured_file(given.model) if given.model else RANDOM_STUDENT)
    print(f"{row['total_s']:.3f} s to the first predicted class; table: {given.out / 'cold_start.csv'}")


if __name__ == "__main__":
    run(main)
