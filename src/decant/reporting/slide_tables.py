"""Native tables on slides, in the largest type at which every row and every word fits."""

from collections.abc import Sequence
from typing import Any

from pptx.util import Inches, Pt

from decant.reporting.slide_text import LINE, MORE, POINTS, lines_of, widest_word, width_of

SIZES = (20, 18, 16, 14)  # points; smaller type cannot be read on a projector
SIDES, ENDS = 0.2, 0.06  # margins of a cell, left and right together, above and below together; inches
Rows = Sequence[Sequence[str]]


def words_fit(rows: Rows, width: float, size: int = SIZES[-1]) -> bool:
    """True if no word of the table is broken at this type. width: of the table, inches."""
    return sum(_narrowest(rows, size)) <= width


def add_table(slide: Any, rows: Rows, left: float, top: float, width: float, bottom: float) -> Any:
    """Add a table between `top` and `bottom`, inches; return it.

    Rows that do not fit at the smallest type are left out, and a line below says so.
    """
    size = next((size for size in SIZES if _fits(rows, size, width, bottom - top)), SIZES[-1])
    widths = column_widths(rows, size, width)
    heights = [_height(row, size, widths) for row in rows]
    shown = list(rows)
    if sum(heights) > bottom - top:
        room = bottom - top - size * LINE / POINTS - 0.1
        shown = [row for number, row in enumerate(rows) if sum(heights[: number + 1]) <= room]
    table = _native(slide, shown, widths, heights, size, left, top)
    if len(shown) < len(rows):
        box = slide.shapes.add_textbox(Inches(left), Inches(bottom - 0.4), Inches(width), Inches(0.4))
        box.text_frame.word_wrap = True
        box.text_frame.text = MORE
        box.text_frame.paragraphs[0].font.size = Pt(size)
    return table


def column_widths(rows: Rows, size: int, width: float) -> list[float]:
    """Inches per column, `width` in sum: room for the widest word, then in equal shares what the texts ask for."""
    least, asked = _narrowest(rows, size), _widest(rows, size)
    if sum(least) >= width:
        return [part * width / sum(least) for part in least]
    widths, left = list(least), width - sum(least)
    by_need = sorted(range(len(least)), key=lambda at: asked[at] - least[at])
    for done, at in enumerate(by_need):
        more = min(asked[at] - least[at], left / (len(least) - done))
        widths[at], left = least[at] + more, left - more
    return [part + left / len(widths) for part in widths]


def _fits(rows: Rows, size: int, width: float, height: float) -> bool:
    widths = column_widths(rows, size, width)
    return words_fit(rows, width, size) and sum(_height(row, size, widths) for row in rows) <= height


def _narrowest(rows: Rows, size: int) -> list[float]:
    return [SIDES + max(widest_word(text, size) for text in column) for column in zip(*rows, strict=True)]


def _widest(rows: Rows, size: int) -> list[float]:
    return [SIDES + max(width_of(text, size) for text in column) for column in zip(*rows, strict=True)]


def _height(row: Sequence[str], size: int, widths: Sequence[float]) -> float:
    lines = max(lines_of(text, size, width - SIDES) for text, width in zip(row, widths, strict=True))
    return lines * size * LINE / POINTS + ENDS


def _native(
    slide: Any, rows: Rows, widths: Sequence[float], heights: Sequence[float], size: int, left: float, top: float
) -> Any:
    place = [Inches(value) for value in (left, top, sum(widths), sum(heights[: len(rows)]))]
    table = slide.shapes.add_table(len(rows), len(widths), *place).table
    for column, width in zip(table.columns, widths, strict=True):
        column.width = Inches(width)
    for row, texts, height in zip(table.rows, rows, heights, strict=False):
        row.height = Inches(height)
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
            cell.margin_left = cell.margin_right = Inches(SIDES / 2)
            cell.margin_top = cell.margin_bottom = Inches(ENDS / 2)
            for paragraph in cell.text_frame.paragraphs:
                paragraph.font.size = Pt(size)
    return table
