"""The pixel cache: every image is decoded in full into its own row, and the right level is sampled."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decant.data.images import BrokenImage
from decant.data.pixels import PixelCache, build_pixel_cache, level_shapes


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def noise(seed: int, width: int, height: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


IMAGES = {"c": noise(1, 70, 50), "a": noise(2, 40, 90), "b": noise(3, 64, 64), "d": noise(4, 9, 7)}


def build(folder, images=None, px=64, contents=None):
    images = IMAGES if images is None else images
    folder.mkdir(parents=True, exist_ok=True)
    encoded = ((content, png(pixels)) for content, pixels in images.items())
    build_pixel_cache(folder, encoded, list(images) if contents is None else contents, px)
    return PixelCache(folder)


def test_every_level_of_every_row_is_pillows_resize_of_its_own_image(tmp_path):
    cache = build(tmp_path)
    assert cache.contents == ["a", "b", "c", "d"] and len(cache) == 4
    for level, side in enumerate([64, 32, 16]):
        for row, content in enumerate(cache.contents):
            expected = Image.fromarray(IMAGES[content]).resize((side, side), Image.Resampling.BILINEAR)
            assert np.array_equal(cache.read(np.array([row]), level)[0], np.asarray(expected))


def test_an_image_of_the_caches_size_is_stored_bit_for_bit(tmp_path):
    cache = build(tmp_path)
    assert np.array_equal(cache.read(cache.rows_of(["b"]), 0)[0], IMAGES["b"])


def test_sizes_are_width_and_height_of_the_originals(tmp_path):
    cache = build(tmp_path)
    assert cache.sizes[cache.rows_of(["c", "a", "d"])].tolist() == [[70, 50], [40, 90], [9, 7]]


def test_the_order_of_the_images_does_not_matter(tmp_path):
    one = build(tmp_path / "one")
    other = build(tmp_path / "other", dict(reversed(IMAGES.items())))
    assert one.contents == other.contents
    assert all(np.array_equal(a, b) for a, b in zip(one.levels, other.levels, strict=True))
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()}


def test_rows_can_be_read_in_any_order_and_more_than_once(tmp_path):
    cache = build(tmp_path)
    rows = np.array([3, 0, 3])
    assert np.array_equal(cache.read(rows, 1), np.stack([cache.levels[1][row] for row in rows]))


def test_rows_of_contents_are_int64_and_an_unknown_content_is_an_error(tmp_path):
    cache = build(tmp_path)
    assert cache.rows_of(["d", "a", "d"]).tolist() == [3, 0, 3] and cache.rows_of([]).dtype == np.int64
    with pytest.raises(KeyError):
        cache.rows_of(["a", "unknown"])


def test_levels_are_read_only_memory_maps(tmp_path):
    assert all(isinstance(level, np.memmap) and not level.flags.writeable for level in build(tmp_path).levels)


def test_exif_orientation_is_applied(tmp_path):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.fromarray(noise(5, 60, 30)).save(file, format="JPEG", exif=exif)
    build_pixel_cache(tmp_path, [("rotated", file.getvalue())], ["rotated"], 32)
    assert PixelCache(tmp_path).sizes.tolist() == [[30, 60]]


def test_an_image_that_cannot_be_decoded_is_an_error(tmp_path):
    with pytest.raises(BrokenImage):
        build_pixel_cache(tmp_path, [("a", png(IMAGES["a"])), ("b", b"not an image")], ["a", "b"], 32)
    assert not (tmp_path / "contents.json").exists()


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="1 images are missing, first e"):
        build(tmp_path, contents=[*IMAGES, "e"])
    assert not (tmp_path / "contents.json").exists()


def test_an_image_that_was_not_requested_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        build(tmp_path, contents=["a", "b", "c"])


@pytest.mark.parametrize(
    ("px", "sides"), [(160, [160, 80, 40]), (64, [64, 32, 16]), (63, [63, 31]), (31, [31]), (16, [16]), (9, [9])]
)
def test_levels_halve_down_to_16_pixels_and_there_is_at_least_one(px, sides):
    assert level_shapes(px) == [(side, side) for side in sides]


def test_the_levels_of_a_rectangle_halve_both_sides_and_are_pillows_resizes(tmp_path):
    cache = build(tmp_path, px=(32, 72))
    assert [level.shape[1:3] for level in cache.levels] == [(32, 72), (16, 36)]
    for row, content in enumerate(cache.contents):
        expected = Image.fromarray(IMAGES[content]).resize((36, 16), Image.Resampling.BILINEAR)
        assert np.array_equal(cache.read(np.array([row]), 1)[0], np.asarray(expected))


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
def test_the_next_larger_level_is_sampled_about_once_per_pixel(pyramid, side, size, level, samples):
    levels_and_samples = pyramid.levels_for(np.array([side]), size)
    assert [values.tolist() for values in levels_and_samples] == [[level], [samples]]


@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=5), st.integers(8, 400))
def test_a_level_is_enlarged_only_if_no_larger_level_exists(pyramid, sides, size):
    for side, level, samples in zip(sides, *pyramid.levels_for(np.array(sides), size), strict=True):
        per_pixel = [side * px / size for px in (160, 80, 40)]
        assert level == 0 or per_pixel[level] >= 1 - 1e-6
        assert level == 2 or per_pixel[level + 1] < 1 + 1e-6
        assert per_pixel[level] / samples < 1.5 + 1e-6
