"""The tiles of a sheet of photos on a slide, as large as their captions allow, which are text of the slide."""

import io
from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

from PIL import Image
from pptx.util import Inches, Pt

from decant.reporting.slide_text import LINE, POINTS, lines_of, widest_word

CAPTION = 14  # points
GAP = 0.12  # between tiles, inches
SMALLEST = 0.9  # side of a tile; with more tiles fewer are shown, inches
Tiles = Sequence[tuple[Image.Image, Sequence[str]]]


class Grid(NamedTuple):
    """tiles: how many are shown. side: of a tile; caption: height below it; inches."""

    tiles: int
    columns: int
    rows: int
    side: float
    caption: float


def add_tiles(slide: Any, tiles: Tiles, left: float, top: float, width: float, height: float) -> None:
    """Add the tiles column by column, each over its caption. left, top, width, height: inches."""
    grid = grid_for([caption for _, caption in tiles], width, height)
    step_x, step_y = width / grid.columns, grid.side + grid.caption + GAP
    for number, (image, caption) in enumerate(tiles[: grid.tiles]):
        x, y = left + number // grid.rows * step_x, top + number % grid.rows * step_y
        slide.shapes.add_picture(_png(image), Inches(x), Inches(y), Inches(grid.side), Inches(grid.side))
        _caption(slide, caption, x, y + grid.side, step_x - GAP, grid.caption)


def grid_for(captions: Sequence[Sequence[str]], width: float, height: float) -> Grid:
    """The grid with the largest tiles in which no word of a caption is broken.

    Only the first tiles are shown where all would be smaller than SMALLEST.
    """
    for shown in range(len(captions), 0, -1):
        grids = [_grid(captions[:shown], columns, width, height) for columns in range(1, shown + 1)]
        words = max(widest_word(line, CAPTION) for caption in captions[:shown] for line in [*caption, ""])
        whole = [grid for grid in grids if words <= width / grid.columns - GAP and grid.side >= SMALLEST]
        if whole:
            return max(whole, key=lambda grid: grid.side)
    return _grid(captions[:1], 1, width, height)


def _grid(captions: Sequence[Sequence[str]], columns: int, width: float, height: float) -> Grid:
    rows, room = ceil(len(captions) / columns), width / columns - GAP
    lines = max(sum(lines_of(line, CAPTION, room) for line in caption) for caption in captions)
    below = lines * CAPTION * LINE / POINTS
    return Grid(len(captions), columns, rows, min(room, height / rows - below - GAP), below)


def _png(image: Image.Image) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, "PNG")
    file.seek(0)
    return file


def _caption(slide: Any, lines: Sequence[str], *place: float) -> None:
    """place: left, top, width, height in inches."""
    frame = slide.shapes.add_textbox(*(Inches(value) for value in place)).text_frame
    frame.word_wrap = True
    frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = 0
    for number, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        paragraph.text = line
        paragraph.font.size = Pt(CAPTION)
