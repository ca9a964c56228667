"""The picture of a map lies over the right part of the photo, for every geometry."""

import io

import numpy as np
import pytest
from PIL import Image

from decant.data.preprocessing import Preprocessing
from decant.export.class_activation import Places
from decant.serving.heat_picture import LEVELS, OPACITY, evidence_for, heat_picture

CELLS = (Places(4.0, 8.0), Places(4.0, 8.0))  # 4 x 4 cells in an input of 32 x 32 pixels
TOP = LEVELS - 1


def drawn(
    evidence: np.ndarray, shape: tuple[int, int], preprocessing: Preprocessing, places: tuple[Places, Places] = CELLS
) -> tuple[np.ndarray, float]:
    """The levels of the picture and the share."""
    picture, share = heat_picture(evidence, shape, places, preprocessing)
    return np.array(Image.open(io.BytesIO(picture))), share


def one_cell(row: int, column: int) -> np.ndarray:
    evidence = np.full((4, 4), -1.0)
    evidence[row, column] = 2.0
    return evidence


def hottest(levels: np.ndarray) -> tuple[float, float]:
    """The middle of the hottest pixels, as shares of height and width."""
    where = np.argwhere(levels == TOP).mean(axis=0) + 0.5
    return where[0] / levels.shape[0], where[1] / levels.shape[1]


def test_a_stretched_photo_is_coloured_as_a_whole_with_each_cell_at_its_share() -> None:
    levels, share = drawn(one_cell(0, 2), (60, 120), Preprocessing(32, 1.0, "stretch"))
    assert levels.shape == (60, 120) and share == 1
    row, column = hottest(levels)
    assert row == pytest.approx(0.0625, abs=0.01)  # above the middle of the outer cells nothing changes
    assert column == pytest.approx(0.625, abs=0.01)


def test_what_a_crop_cuts_off_has_no_colour() -> None:
    levels, share = drawn(one_cell(3, 0), (40, 120), Preprocessing(32))
    seen = levels != LEVELS
    assert seen.all(axis=0).tolist() == [40 <= column < 80 for column in range(120)]
    assert share == pytest.approx(1 / 3)
    row, column = hottest(levels)
    assert row == pytest.approx(0.9375, abs=0.01) and column == pytest.approx(1 / 3 + 0.0625 / 3, abs=0.01)


def test_a_crop_ratio_cuts_off_all_four_sides() -> None:
    levels, share = drawn(one_cell(1, 1), (80, 80), Preprocessing(32, 0.8))
    rows = np.flatnonzero((levels != LEVELS).any(axis=1))
    assert (rows.min(), rows.max()) == (8, 71) and share == pytest.approx(0.64)


def test_the_border_around_a_padded_photo_is_left_out() -> None:
    """The photo has 16 of 32 rows, from the eighth on: the second cell is a quarter of its height below its top."""
    levels, share = drawn(one_cell(1, 3), (60, 120), Preprocessing(32, 1.0, "pad"))
    row, column = hottest(levels)
    assert share == 1 and row == pytest.approx(0.25, abs=0.02) and column == pytest.approx(0.9375, abs=0.01)


def test_cells_that_look_beside_their_share_are_drawn_where_they_look() -> None:
    places = (Places(8.0, 8.0), Places(4.0, 8.0))
    levels, _ = drawn(one_cell(1, 2), (64, 64), Preprocessing(32, 1.0, "stretch"), places)
    assert hottest(levels) == (pytest.approx(16 / 32, abs=0.01), pytest.approx(20 / 32, abs=0.01))


@pytest.mark.parametrize("shape", [(1, 1), (3, 4000), (4000, 3), (20_000, 100)])
@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_thin_and_tiny_photos_have_a_picture_of_their_form(shape: tuple[int, int], fit: str) -> None:
    levels, share = drawn(one_cell(0, 0), shape, Preprocessing(32, 1.0, fit))  # type: ignore[arg-type]
    assert 0 <= share <= 1 and levels.shape == tuple(max(1, round(side * min(1, 128 / max(shape)))) for side in shape)


def test_without_evidence_nothing_is_hot() -> None:
    levels, _ = drawn(np.full((4, 4), -1.0), (64, 64), Preprocessing(32))
    assert not levels.any()


def test_the_heat_is_half_transparent_and_brighter_where_it_is_higher() -> None:
    picture, _ = heat_picture(one_cell(0, 0), (60, 180), CELLS, Preprocessing(32))
    colours = np.array(Image.open(io.BytesIO(picture)).convert("RGBA")).astype(int)
    levels = np.array(Image.open(io.BytesIO(picture)))
    assert set(colours[levels != LEVELS][:, 3]) == {OPACITY} and set(colours[levels == LEVELS][:, 3]) == {0}
    assert colours[levels == TOP][0, :3].sum() > 600 and colours[levels == 0][0, :3].sum() < 20


def test_evidence_is_what_speaks_more_for_a_class_than_for_the_others() -> None:
    maps = np.zeros((3, 1, 2))
    maps[:, 0, 0] = 5.0  # speaks for all classes alike
    maps[:, 0, 1] = (4.0, 1.0, 1.0)
    np.testing.assert_allclose(evidence_for(maps, 0), [[0.0, 2.0]])
