"""The time to export a student and to verify the file, on drawn photos: no data and no study are needed."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from decant.evaluation.tables import write_results_table
from decant.models.checkpoint import load_checkpoint
from decant.stages.support.command import at_least_one, run
from decant.stages.support.provenance import RANDOM_STUDENT, measured_file, record_measurement
from decant.study_files import ROOT
from decant.timing.export_time import EXPORT_TIME_COLUMNS, export_time_row
from decant.timing.random_student import random_student
from decant.workspace import followed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/export_time.py --images 200",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=followed, metavar="FOLDER", help="the checkpoint of a student (default: an"
                        " EfficientNet-Lite0 with random weights, 128 px, 10 classes)")  # fmt: skip
    parser.add_argument("--images", type=at_least_one, default=200, help="images to verify on (default: 200)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "export", help="folder for the table (default: results/export)"
    )
    given = parser.parse_args(arguments)
    checkpoint = load_checkpoint(given.checkpoint) if given.checkpoint else random_student()
    with tempfile.TemporaryDirectory() as folder:
        row = export_time_row(checkpoint, Path(folder), given.images)
    write_results_table([row], given.out / "export_time.csv", EXPORT_TIME_COLUMNS)
    weights = measured_file(given.checkpoint / "model.safetensors") if given.checkpoint else RANDOM_STUDENT
    record_measurement(given.out, ["export_time.csv"], weights)
    print(f"{row['total_s']:.1f} s, verification passed: {row['passed']}; table: {given.out / 'export_time.csv'}")


if __name__ == "__main__":
    run(main)
