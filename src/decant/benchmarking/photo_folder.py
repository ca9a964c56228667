"""A folder of JPEG files with class folders below train, val and test: drawn photos, or those of a study's source."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from decant.data.images import BrokenImage, decode, header_size
from decant.data.sources import Source
from decant.errors import UserError
from decant.stages.support.sample import may_be_of_train
from toy_vehicles import CLASSES
from toy_vehicles.scene import draw

SIZE = (300, 400)  # height and width of drawn photos, pixels
DRAWN = 5  # drawn photos per class; further ones are these, shifted sideways, because drawing takes long
QUALITY = 90
JPEG_START = b"\xff\xd8\xff"
MOST_CLASSES = 10  # of a source
HELD_BACK = ("val", "test")  # each gets one photo per class; the others are of train


def draw_photos(folder: Path, count: int, size: tuple[int, int] = SIZE) -> None:
    """Write `count` different photos of drawn vehicles into `folder`/train, and one per class into val and test."""
    images = {label: drawn_photos(label, size) for label in CLASSES}
    for number in range(count + len(HELD_BACK) * len(CLASSES)):
        label, turn = CLASSES[number % len(CLASSES)], number // len(CLASSES)
        path = photo_path(folder, label, turn)
        shifted = np.roll(images[label][turn % DRAWN], turn // DRAWN, axis=1)
        Image.fromarray(shifted).save(path, quality=QUALITY)


def drawn_photos(label: str, size: tuple[int, int]) -> list[np.ndarray]:
    """DRAWN photos of a class, uint8 [height, width, 3]."""
    height, width = size
    seeds = (np.random.default_rng([CLASSES.index(label), number]) for number in range(DRAWN))
    return [np.array(draw(label, seed, width, height, supersampling=1)) for seed in seeds]


def copy_photos(source: Source, folder: Path, count: int) -> None:
    """Write `count` labelled JPEG files of the source into `folder`/train, and one per class into val and test.

    The files are not changed; their class folders have numbers as names. Raises UserError if there are too few.
    """
    written: dict[str, int] = defaultdict(int)
    missing = count
    for label, content in labelled_jpegs(source):
        path = photo_path(folder, label, written[label])
        path.write_bytes(content)
        written[label] += 1
        missing -= path.parts[-3] == "train"
        if missing == 0:
            return
    raise UserError(
        f"the source has {count - missing} JPEG files to train on where {count} are needed; lower --steps, or use "
        "another study"
    )


def photo_path(folder: Path, label: str, number: int) -> Path:
    """The path of photo `number` of a class, in a folder that exists; the first photos belong to val and test."""
    split = HELD_BACK[number] if number < len(HELD_BACK) else "train"
    path = folder / split / label / f"{number:05d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def labelled_jpegs(source: Source) -> Iterator[tuple[str, bytes]]:
    """Class folder and content of each readable JPEG file that may be of train, of the largest classes, in turns."""
    paths: dict[str, list[str]] = defaultdict(list)
    for item in source.list_images():
        if may_be_of_train(item):
            paths[str(item.given_label)].append(item.path)
    largest = sorted(paths, key=lambda label: -len(paths[label]))[:MOST_CLASSES]
    per_class = [[(f"{number:03d}", path) for path in paths[label]] for number, label in enumerate(largest)]
    for turn in zip_longest(*per_class):
        labels = {path: label for label, path in filter(None, turn)}
        for path, content in source.contents(list(labels)):
            if not isinstance(content, BrokenImage) and is_jpeg(content):
                yield labels[path], content


def is_jpeg(content: bytes) -> bool:
    """True for a JPEG file that can be decoded."""
    if not content.startswith(JPEG_START):
        return False
    try:
        decode(content)
    except BrokenImage:
        return False
    return True


def median_size(folder: Path) -> tuple[int, int]:
    """Median height and width of the photos in `folder`/train, pixels."""
    sizes = [header_size(path.read_bytes()) for path in (folder / "train").rglob("*.jpg")]
    width, height = np.median(sizes, axis=0)
    return int(height), int(width)
