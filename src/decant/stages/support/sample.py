"""A look at a few images of a source: their sizes, and how long it takes to read and decode one."""

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd

from decant.data.geometry_choice import Shapes, shapes_of
from decant.data.images import BrokenImage, decode, header_size
from decant.data.sources.base import ListedImage, Source

# Neighbours are read together, because a row group of Parquet or a block of an archive is unpacked as a whole.
RUNS, RUN_IMAGES = 24, 8  # positions in the source's order, images read at each
DECODED = 8  # of the images that are read; decoding a large photo takes 0.3 s
FALLBACK_DECODE_S, FALLBACK_PX = 0.01, 224  # if no image of the sample can be read


@dataclass(frozen=True)
class Sample:
    """sizes: upright width and height of images of train, pixels. decode_s: seconds to read and decode one image."""

    sizes: Sequence[tuple[int, int]]
    decode_s: float

    @property
    def shapes(self) -> Shapes:
        """The shapes of the images; that of a square if none was readable."""
        return shapes_of(pd.DataFrame(self.sizes or [(FALLBACK_PX, FALLBACK_PX)], columns=["width", "height"]))

    @property
    def shorter_px(self) -> int:
        """Median shorter side, pixels."""
        return int(statistics.median(min(size) for size in self.sizes)) if self.sizes else FALLBACK_PX


def look_at_sample(source: Source, items: Sequence[ListedImage]) -> Sample:
    """Sizes and decoding time of images of train, read at positions spread evenly over the source.

    The same source gives the same images. Broken images are left out.
    """
    sizes: list[tuple[int, int]] = []
    decoding: list[float] = []
    chosen = sampled([item.path for item in items if may_be_of_train(item)])
    started = time.perf_counter()
    for number, (_, content) in enumerate(source.contents(chosen)):
        if isinstance(content, BrokenImage):
            continue
        with suppress(BrokenImage):
            sizes.append(header_size(content))
            if number % math.ceil(len(chosen) / DECODED) == 0:
                decoding.append(decode_seconds(content))
    reading = time.perf_counter() - started - sum(decoding)
    if not decoding:
        return Sample(sizes, FALLBACK_DECODE_S)
    return Sample(sizes, reading / len(chosen) + sum(decoding) / len(decoding))


def is_usable(item: ListedImage) -> bool:
    """False for an image that the manifest sets aside; images of a repeating folder count as copies."""
    return not (item.problem or item.aside or item.in_repeat)


def may_be_of_train(item: ListedImage) -> bool:
    """True for a labelled image of the main source, of train or of a split that is still to be drawn."""
    return is_usable(item) and not item.extra and item.given_label is not None and item.split in (None, "train")


def sampled(paths: Sequence[str]) -> list[str]:
    """At most RUNS runs of RUN_IMAGES paths that follow each other; of few paths all."""
    step = max(RUN_IMAGES, math.ceil(len(paths) / RUNS))
    return [path for start in range(0, len(paths), step) for path in paths[start : start + RUN_IMAGES]]


def decode_seconds(data: bytes) -> float:
    """Seconds to decode one image. Raises BrokenImage."""
    started = time.perf_counter()
    decode(data)
    return time.perf_counter() - started
