"""A sample of a source's images: which are read, their sizes, and what broken ones do."""

import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from decant.data.images import BrokenImage
from decant.data.sources.base import ListedImage
from decant.stages.support import sample as module
from decant.stages.support.sample import DECODED, RUN_IMAGES, RUNS, Sample, look_at_sample, sampled

MOST = RUNS * RUN_IMAGES


def encoded(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


class Images:
    """A source of images in memory that notes what is read. Other methods of a source are not called."""

    def __init__(self, contents: dict[str, bytes | BrokenImage]) -> None:
        self.of = contents
        self.read_paths: list[str] = []

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        for path in paths:
            self.read_paths.append(path)
            yield path, self.of[path]


def looked_at(
    contents: dict[str, bytes | BrokenImage], items: list[ListedImage] | None = None
) -> tuple[Sample, list[str]]:
    source: Any = Images(contents)
    return look_at_sample(source, items or [ListedImage(path, "a", "train") for path in contents]), source.read_paths


def test_the_shapes_are_those_of_the_images() -> None:
    sample, _ = looked_at({f"{number}": encoded(30, 20) for number in range(20)})
    assert sample.sizes == [(30, 20)] * 20 and sample.shorter_px == 20
    assert sample.shapes.aspect == pytest.approx(1.5)
    assert 0 < sample.decode_s < 1


def test_a_large_source_is_read_at_places_spread_over_it() -> None:
    contents: dict[str, bytes | BrokenImage] = dict.fromkeys(map(str, range(100_000)), encoded(3, 2))
    sample, paths = looked_at(contents)
    places = [int(path) for path in paths]
    assert len(sample.sizes) == len(places) == MOST
    assert places[0] < 5000 and places[-1] > 95_000 and max(b - a for a, b in pairwise(places)) < 5000


def test_the_same_source_gives_the_same_images() -> None:
    paths = [str(number) for number in range(1234)]
    assert sampled(paths) == sampled(paths) and len(set(sampled(paths))) == len(sampled(paths)) <= MOST
    assert sampled(paths[:50]) == paths[:50]


def test_few_images_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(module, "decode", decoded.append)
    looked_at(dict.fromkeys(map(str, range(5000)), encoded(3, 2)))
    assert len(decoded) == DECODED


def test_images_that_are_not_trained_on_do_not_count() -> None:
    contents: dict[str, bytes | BrokenImage] = {name: encoded(30, 20) for name in "abcdef"}
    items = [
        ListedImage("a", "car", "train"),
        ListedImage("b", "car", None),
        ListedImage("c", "car", "test"),
        ListedImage("d", None, "predict"),
        ListedImage("e", "car", "train", problem="a link"),
        ListedImage("f", "car", "train", in_repeat=True),
    ]
    assert looked_at(contents, items)[1] == ["a", "b"]


def test_broken_images_are_left_out() -> None:
    sample, _ = looked_at({"a": b"nothing", "b": BrokenImage("gone"), "c": encoded(30, 20)})
    assert sample.sizes == [(30, 20)]


def test_without_a_readable_image_squares_are_assumed() -> None:
    sample, _ = looked_at({"a": b"nothing"})
    assert sample.sizes == [] and sample.shapes.aspect == 1 and sample.shorter_px > 0 and sample.decode_s > 0
