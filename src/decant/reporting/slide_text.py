"""How much room text takes on a slide, measured in DejaVu Sans, which is wider than the fonts that programs choose."""

import re
from collections.abc import Sequence
from functools import cache

from PIL import ImageFont

from decant.reporting.picture_sheets import caption_font

LINE = 1.2  # height of a line, relative to the type
SPACE = 8  # points after a paragraph
MORE = "… more in the report"
POINTS = 72  # per inch
MEASURED = 200  # pixels of the measured type; in small type the widths of letters are rounded
SLACK = 1.03  # programs differ by as much in kerning and rounding


@cache
def _font() -> ImageFont.FreeTypeFont:
    return caption_font().font_variant(size=MEASURED)


def width_of(text: str, size: int) -> float:
    """Width of a text on one line, inches. size: points."""
    return SLACK * _font().getlength(text) * size / MEASURED / POINTS


def widest_word(text: str, size: int) -> float:
    """Width of the widest part that cannot be broken, inches."""
    return max((width_of(word, size) for word in text.split()), default=0.0)


def lines_of(text: str, size: int, width: float) -> int:
    """Lines of a text that is wrapped at spaces to a width in inches; a word that is wider is broken."""
    lines, used = 1, 0.0
    space = width_of(" ", size)
    for word in text.split():
        length = width_of(word, size)
        if used and used + space + length > width:
            lines, used = lines + 1, 0.0
        used += length + (space if used else 0.0)
        if used > width:
            more = int(used / width)
            lines, used = lines + more, used - more * width
    return lines


def height_of(texts: Sequence[str], size: int, width: float) -> float:
    """Height of wrapped paragraphs with the space after each, inches."""
    return sum(lines_of(text, size, width) * size * LINE + SPACE for text in texts) / POINTS


def fitting(texts: Sequence[str], size: int, width: float, height: float) -> list[str]:
    """The first texts that fit; a single text that does not is cut after a sentence."""
    if height_of(texts, size, width) <= height:
        return list(texts)
    kept: list[str] = []
    for text in texts:
        if height_of([*kept, text, MORE], size, width) > height:
            break
        kept.append(text)
    return [*kept, MORE] if kept else [_cut(texts[0], size, width, height)]


def _cut(text: str, size: int, width: float, height: float) -> str:
    """The first sentences that fit, at least one."""
    sentences = re.split(r"(?<=\.)(?<!\bal\.) ", text)
    while len(sentences) > 1 and height_of([" ".join(sentences)], size, width) > height:
        sentences.pop()
    return " ".join(sentences)
