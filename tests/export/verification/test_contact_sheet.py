"""The contact sheet shows every image with its caption, for all shapes and letters."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decant.export.verification.contact_sheet import TILE_PX, default_font, fitted, write_contact_sheet


def flat(height: int, width: int, colour: tuple[int, int, int] = (200, 30, 30)) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_each_image_has_a_tile_and_a_caption(tmp_path: Path, count: int) -> None:
    write_contact_sheet(tmp_path / "sheet.png", [(flat(20, 30), ["van", "0.1 apart"])] * count)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    red = (pixels == (200, 30, 30)).all(axis=2)
    assert red.sum() == count * TILE_PX * round(TILE_PX * 20 / 30)
    dark = (pixels < 100).all(axis=2)
    assert dark.sum() > count * 50  # letters
    assert not dark[red.any(axis=1).argmax() : TILE_PX].any()  # no letter over the first row of images


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (1, 1), (700, 400)])
def test_images_of_any_shape_fit(tmp_path: Path, shape: tuple[int, int]) -> None:
    write_contact_sheet(tmp_path / "sheet.png", [(flat(*shape), ["拖拉机 Straßenbahn", "a/" * 200 + "end.jpg", ""])])
    assert (tmp_path / "sheet.png").is_file()


def test_a_long_path_is_shortened_from_its_start() -> None:
    font = default_font()
    text = fitted("folder/" * 40 + "photo_17.jpg", font)
    assert text.startswith("...") and text.endswith("photo_17.jpg") and font.getlength(text) <= TILE_PX
    assert fitted("photo.jpg", font) == "photo.jpg"
