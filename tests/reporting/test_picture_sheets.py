"""Sheets of photos: whole pictures, captions that fit, and small files."""

import io

import numpy as np
import pytest
from PIL import Image

from decant.reporting.picture_sheets import (
    MOST_BYTES,
    Tile,
    caption_font,
    fitted,
    overlaid,
    shortened,
    small_jpeg,
    write_sheet,
)


@pytest.mark.parametrize(("height", "width"), [(10, 300), (400, 100), (7, 7)])
def test_a_picture_is_shown_whole_and_with_its_shape(height: int, width: int) -> None:
    picture = fitted(np.zeros((height, width, 3), np.uint8), 100)
    assert max(picture.size) == 100
    assert picture.width / picture.height == pytest.approx(
        width / height, rel=0.35 if min(height, width) < 20 else 0.02
    )


def test_a_sheet_of_noise_stays_below_the_limit(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    write_sheet([Tile(noise, ["car"])] * 18, 6, tmp_path / "sheet.jpg")
    assert 0 < (tmp_path / "sheet.jpg").stat().st_size <= MOST_BYTES
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert not sheet.getexif()


def test_a_sheet_without_tiles_is_not_written(tmp_path) -> None:
    write_sheet([], 6, tmp_path / "sheet.jpg")
    assert not (tmp_path / "sheet.jpg").exists()


def test_a_long_caption_is_cut_to_the_width() -> None:
    font = caption_font()
    text = shortened("a class name\nthat is far too long for a tile", font, 100)
    assert text.endswith("…") and font.getlength(text) <= 100 and "\n" not in text


def test_the_same_sheet_has_the_same_bytes() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    assert small_jpeg(image) == small_jpeg(image)
    assert Image.open(io.BytesIO(small_jpeg(image))).size == (30, 20)


def test_heat_changes_a_picture_most_where_it_is_high() -> None:
    pixels = np.full((2, 2, 3), 100, np.uint8)
    changed = overlaid(pixels, np.array([[0.0, 1.0], [0.0, 0.0]]))
    distance = np.abs(changed.astype(int) - 100).sum(axis=2)
    assert distance.argmax() == 1
