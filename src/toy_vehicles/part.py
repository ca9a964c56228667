"""A program that draws every nth of the planned files and prints a line after each. `generate` starts it."""

import json
import sys
from pathlib import Path

from toy_vehicles.mess import write_file
from toy_vehicles.plan import plan_files


def main(folder: str, first: int, step: int, arguments: list[float]) -> None:
    """Draw the files first, first + step, … into `folder`.

    arguments: images, size_px, seed, classes and test_share of `generate`.
    """
    images, size_px, seed, classes = (int(value) for value in arguments[:4])
    for plan in plan_files(images, size_px, seed, classes, arguments[4])[first::step]:
        write_file(Path(folder), plan, seed)
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
