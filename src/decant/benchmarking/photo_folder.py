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
DRAWN = 5  # different photos per class; the others are these, shifted sideways, because drawing takes long
QUALITY = 90
JPEG_START = b"\xff\xd8\xff"
MOST_CLASSES = 10  # of a source
HELD_BACK = ("val", "test")  # each gets one photo per class; the rest is train


def draw_photos(folder: Path, count: int, size: tuple[int, int] = SIZE) -> None:
    """Write `count` different photos of drawn vehicles into `folder`/train, and one per class into val and test."""
    images = {label: drawn(label, size) for label in CLASSES}
    for number in range(count + len(HELD_BACK) * len(CLASSES)):
        label, turn = CLASSES[number % len(CLASSES)], number // len(CLASSES)
        path = place(folder, label, turn)
        shifted = np.roll(images[label][turn % DRAWN], turn // DRAWN, axis=1)
        Image.fromarray(shifted).save(path, quality=QUALITY)


def drawn(label: str, size: tuple[int, int]) -> list[np.ndarray]:
    """DRAWN photos of a class, uint8 [height, width, 3]."""
    height, width = size
    seeds = (np.random.default_rng([CLASSES.index(label), number]) for number in range(DRAWN))
    return [np.array(draw(label, seed, width, height, supersampling=1)) for seed in seeds]


def copy_photos(source: Source, folder: Path, count: int) -> None:
    """Write `count` labelled JPEG files of the source into `folder`/train, and one per class into val and test.

    The files are not changed; their class folders have numbers as names. Raises UserError if there are too few.
    """
    written: dict[str, int] = defaultdict(int)
    wanted = count
    for label, content in labelled_jpegs(source):
        path = place(folder, label, written[label])
        path.write_bytes(content)
        written[label] += 1
        wanted -= path.parts[-3] == "train"
        if wanted == 0:
            return
    raise UserError(
        f"the source has {count - wanted} JPEG files to train on where {count} are needed; lower --steps, or take "
        "another study"
    )


def place(folder: Path, label: str, number: int) -> Path:
    """The path of photo `number` of a class: the first ones are of val and test."""
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
    of_class = [[(f"{number:03d}", path) for path in paths[label]] for number, label in enumerate(largest)]
    for turn in zip_longest(*of_class):
        labels = {path: label for label, path in filter(None, turn)}
        for path, content in source.contents(list(labels)):
            if not isinstance(content, BrokenImage) and is_jpeg(content):
                yield labels[path], content


def is_jpeg(content: bytes) -> bool:
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
