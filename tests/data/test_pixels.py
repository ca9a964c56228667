"""Every picture is decoded once, whole, into the row that is its own."""

import io
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from decant.data.images import BrokenImage
from decant.data.pixels import PixelCache, build_pixel_cache, level_sides
from decant.data.pool import parallel


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def noise(seed: int, width: int, height: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


PICTURES = {"c": noise(1, 70, 50), "a": noise(2, 40, 90), "b": noise(3, 64, 64), "d": noise(4, 9, 7)}


def build(folder, pictures=None, px=64, contents=None):
    pictures = PICTURES if pictures is None else pictures
    folder.mkdir(parents=True, exist_ok=True)
    encoded = ((content, png(pixels)) for content, pixels in pictures.items())
    build_pixel_cache(folder, encoded, list(pictures) if contents is None else contents, px)
    return PixelCache(folder)


def test_every_level_of_every_row_is_pillows_resize_of_its_own_picture(tmp_path):
    cache = build(tmp_path)
    assert cache.contents == ["a", "b", "c", "d"] and len(cache) == 4
    for level, side in enumerate([64, 32, 16]):
        for row, content in enumerate(cache.contents):
            expected = Image.fromarray(PICTURES[content]).resize((side, side), Image.Resampling.BILINEAR)
            assert np.array_equal(cache.read(np.array([row]), level)[0], np.asarray(expected))


def test_a_picture_of_the_caches_own_size_is_kept_bit_for_bit(tmp_path):
    cache = build(tmp_path)
    assert np.array_equal(cache.read(cache.rows_of(["b"]), 0)[0], PICTURES["b"])


def test_the_real_shape_of_a_squeezed_picture_is_kept_as_width_and_height(tmp_path):
    cache = build(tmp_path)
    assert cache.sizes[cache.rows_of(["c", "a", "d"])].tolist() == [[70, 50], [40, 90], [9, 7]]


def test_the_order_in_which_pictures_come_does_not_matter(tmp_path):
    one = build(tmp_path / "one")
    other = build(tmp_path / "other", dict(reversed(PICTURES.items())))
    assert one.contents == other.contents
    assert all(np.array_equal(a, b) for a, b in zip(one.levels, other.levels, strict=True))
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()}


def test_rows_can_be_read_in_any_order_and_more_than_once(tmp_path):
    cache = build(tmp_path)
    rows = np.array([3, 0, 3])
    assert np.array_equal(cache.read(rows, 1), np.stack([cache.levels[1][row] for row in rows]))


def test_rows_are_found_by_content_and_a_stranger_is_an_error(tmp_path):
    cache = build(tmp_path)
    assert cache.rows_of(["d", "a", "d"]).tolist() == [3, 0, 3] and cache.rows_of([]).dtype == np.int64
    with pytest.raises(KeyError):
        cache.rows_of(["a", "stranger"])


def test_the_pixels_stay_on_the_disk_until_they_are_read(tmp_path):
    assert all(isinstance(level, np.memmap) and not level.flags.writeable for level in build(tmp_path).levels)


def test_orientation_of_the_camera_is_applied(tmp_path):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(noise(5, 60, 30)).save(file, format="JPEG", exif=exif)
    build_pixel_cache(tmp_path, [("turned", file.getvalue())], ["turned"], 32)
    assert PixelCache(tmp_path).sizes.tolist() == [[30, 60]]


def test_a_picture_that_does_not_decode_ends_the_work_with_its_reason(tmp_path):
    with pytest.raises(BrokenImage):
        build_pixel_cache(tmp_path, [("a", png(PICTURES["a"])), ("b", b"not a picture")], ["a", "b"], 32)
    assert not (tmp_path / "contents.json").exists()


def test_a_picture_that_never_comes_is_an_error_and_not_a_black_one(tmp_path):
    with pytest.raises(ValueError, match="1 images are missing, first e"):
        build(tmp_path, contents=[*PICTURES, "e"])
    assert not (tmp_path / "contents.json").exists()


def test_a_picture_that_nobody_asked_for_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        build(tmp_path, contents=["a", "b", "c"])


@pytest.mark.parametrize(
    ("px", "sides"), [(160, [160, 80, 40]), (64, [64, 32, 16]), (63, [63, 31]), (31, [31]), (16, [16]), (9, [9])]
)
def test_a_pyramid_halves_down_to_16_pixels_and_has_at_least_one_level(px, sides):
    assert level_sides(px) == sides


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    return build(tmp_path_factory.mktemp("pyramid"), {"a": noise(0, 64, 64)}, 160)


@pytest.mark.parametrize(
    ("side", "size", "level", "samples"),
    [
        (1, 200, 0, 1), (1, 160, 0, 1), (1, 120, 0, 1), (1, 96, 0, 2), (1, 80, 1, 1), (1, 41, 1, 2), (1, 40, 2, 1),
        (1, 8, 2, 5), (0.5, 80, 0, 1), (0.5, 40, 1, 1),
    ],
)  # fmt: skip
def test_the_next_larger_level_is_taken_and_as_many_samples_as_it_has_pixels(pyramid, side, size, level, samples):
    found = pyramid.levels_for(np.array([side]), size)
    assert [values.tolist() for values in found] == [[level], [samples]]


@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=5), st.integers(8, 400))
def test_no_level_is_enlarged_where_a_larger_one_exists(pyramid, sides, size):
    for side, level, samples in zip(sides, *pyramid.levels_for(np.array(sides), size), strict=True):
        per_pixel = [side * px / size for px in (160, 80, 40)]
        assert level == 0 or per_pixel[level] >= 1 - 1e-6
        assert level == 2 or per_pixel[level + 1] < 1 + 1e-6
        assert per_pixel[level] / samples < 1.5 + 1e-6


@settings(max_examples=20)
@given(st.integers(0, 30), st.integers(1, 4), st.integers(1, 10))
def test_parallel_work_comes_back_whole_and_in_order(count, workers, ahead):
    assert list(parallel(lambda n: n * n, iter(range(count)), workers, ahead)) == [n * n for n in range(count)]


def test_parallel_work_takes_no_more_than_a_few_items_ahead():
    taken = []
    results = parallel(lambda n: n, (taken.append(n) or n for n in range(1000)), workers=2, ahead=5)
    assert next(results) == 0 and len(taken) <= 6
    results.close()


def test_parallel_work_runs_beside_one_another():
    both = threading.Barrier(2, timeout=30)  # breaks, and so fails the test, where one has to wait for the other
    assert len(list(parallel(lambda _: both.wait(), range(2), workers=2))) == 2


def test_an_error_in_parallel_work_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        list(parallel(lambda n: 1 // n, [1, 0, 1]))
