"""Draw the toy-vehicles data set into a folder, with its planted faults in truth.csv, or draw a sheet of samples."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from decant.cores import usable_cores
from decant.errors import UserError
from decant.stages.support.command import run
from decant.tracking import progress
from toy_vehicles import generate, sample_sheet


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="examples:\n"
        "  python research/draw_toy_vehicles.py /tmp/toy --images 500\n"
        "  python research/draw_toy_vehicles.py results/toy_vehicles.png --sheet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", type=Path, help="a folder that does not exist yet; with --sheet, a .png file")
    parser.add_argument("--images", type=int, default=2000, help="number of files in the set (default: 2000)")
    parser.add_argument("--size-px", type=int, default=96, help="typical side of an image, pixels (default: 96)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    parser.add_argument("--sheet", action="store_true", help="draw one image with clean samples of every class instead")
    parser.add_argument("--force", action="store_true", help="with --sheet: overwrite an existing image")
    given = parser.parse_args(arguments)
    if given.sheet and (given.target.suffix != ".png" or given.target.exists()) and not given.force:
        raise UserError(f"{given.target} must end in .png and must not exist yet; --force overwrites it")
    if given.sheet:
        sample_sheet(seed=given.seed, columns=10, rows=3).save(given.target)
    else:
        try:
            generate(
                given.target, images=given.images, size_px=given.size_px, seed=given.seed, progress=progress,
                processes=usable_cores(),
            )  # fmt: skip
        except ValueError as error:
            raise UserError(str(error)) from None
    print(given.target)


if __name__ == "__main__":
    run(main)
