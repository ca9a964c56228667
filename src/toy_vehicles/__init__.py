"""toy-vehicles: a messy set of drawn vehicles, made by code, with the truth about every file.

Ten classes seen from all sides, in all weathers; look-alikes among them (car and van, truck and bus, pickup
and car, motorcycle and bicycle, bus and tram, tractor and excavator). `generate` writes

    train/<class>/..., val/<class>/..., test/<class>/...   the files, under the labels that they are given
    truth.csv                                              one row for each of them

truth.csv (UTF-8, rows ordered by path; read it with `keep_default_na=False`) has the columns

    path         relative to the folder, with forward slashes
    true_label   what the picture shows; empty for a file that is no picture
    given_label  the folder it lies in; a label is wrong where the two differ and true_label is not empty
                 (rows of fault wrong_label, and those duplicates that lie under another label)
    fault        what is wrong with the file, one of FAULTS, or empty:
                 wrong_label; exact_duplicate; the near duplicates resized, cropped, mirrored, reencoded;
                 truncated, corrupt (pictures that no longer decode), non_image; too_dark, too_bright,
                 blurred, odd_size; wrong_extension, exif_rotated, cmyk, sixteen_bit, palette, alpha,
                 animated; unicode_name, long_name
    of           for duplicates, the path of the original, which always lies in train

Wrong labels and files that do not decode occur in train alone; a few of the other oddities lie in val and
test, and so do duplicates of train images, under their true label: they leak.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from toy_vehicles.mess import file_bytes
from toy_vehicles.plan import FAULTS, LOOK_ALIKES, Plan, plan_files
from toy_vehicles.scene import CLASSES
from toy_vehicles.sheet import sample_sheet

__all__ = ["CLASSES", "FAULTS", "LOOK_ALIKES", "TRUTH_COLUMNS", "generate", "sample_sheet"]

Progress = Callable[..., Iterable[Plan]]
TRUTH_COLUMNS = ("path", "true_label", "given_label", "fault", "of")


def generate(
    folder: Path, *, images: int = 2000, size_px: int = 96, seed: int = 0, classes: int = 10,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Write the set of `images` files (truth.csv aside) to `folder`, unless it is already there whole.

    size_px: side of the square pictures; others vary about it. classes: the first so many of CLASSES, most
    frequent first. progress: as `decant.tracking.progress`. Same arguments -> same bytes.
    The files are written beside the folder, which appears when it is whole.
    Raises ValueError where the numbers leave no sensible set or the folder holds something else.
    """
    if (folder / "truth.csv").is_file():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is no toy-vehicles folder (no truth.csv); choose another or empty it")
    plans = plan_files(images, size_px, seed, classes)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write_all(partial, plans, seed, progress)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_all(folder: Path, plans: list[Plan], seed: int, progress: Progress | None) -> None:
    folder.mkdir(parents=True)
    for plan in plans if progress is None else progress(plans, "drawing", unit="images"):
        path = folder / plan.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(plan, seed))
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        writer.writerows([getattr(plan, column) for column in TRUTH_COLUMNS] for plan in plans)


def _put_in_place(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not (folder / "truth.csv").is_file():  # else another process was faster, with the same bytes
            raise
