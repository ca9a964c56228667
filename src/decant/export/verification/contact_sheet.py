"""A contact sheet: images with captions in one PNG, drawn with Pillow alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from decant.workspace import replacing

TILE_PX, MARGIN_PX, LINE_PX, TEXT_PX = 260, 10, 18, 14
COLUMNS = 4
Cell = tuple[np.ndarray, Sequence[str]]  # uint8 [H, W, 3], lines of its caption
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_contact_sheet(path: Path, cells: Sequence[Cell]) -> None:
    """Write the images, each fitted into TILE_PX, in rows of COLUMNS with their captions below, atomically."""
    lines = max((len(caption) for _, caption in cells), default=0)
    height = TILE_PX + lines * LINE_PX + MARGIN_PX
    columns, rows = min(COLUMNS, len(cells)), -(-len(cells) // COLUMNS)
    size = (MARGIN_PX + columns * (TILE_PX + MARGIN_PX), MARGIN_PX + rows * (height + MARGIN_PX))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), default_font()
    for number, (image, caption) in enumerate(cells):
        left = MARGIN_PX + number % COLUMNS * (TILE_PX + MARGIN_PX)
        top = MARGIN_PX + number // COLUMNS * (height + MARGIN_PX)
        sheet.paste(within_tile(image), (left, top))
        for line, text in enumerate(caption):
            position = (left, top + TILE_PX + line * LINE_PX + MARGIN_PX // 2)
            draw.text(position, fitted(text, font), fill="black", font=font)
    with replacing(path) as partial:
        sheet.save(partial, "PNG")


def within_tile(pixels: np.ndarray) -> Image.Image:
    """The whole image, uint8 [H, W, 3], with its longer side TILE_PX. Small images are enlarged to visible pixels."""
    image = Image.fromarray(pixels)
    scale = TILE_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def default_font() -> Font:
    """Pillow's own font; without FreeType it has one size and Latin letters only."""
    return ImageFont.load_default(TEXT_PX) if features.check("freetype2") else ImageFont.load_default()


def fitted(text: str, font: Font) -> str:
    """The text shortened from its start to the width of a tile, so that the end of a long path is visible."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        text = text.encode("latin-1", "replace").decode("latin-1")
    if font.getlength(text) <= TILE_PX:
        return text
    while text and font.getlength("..." + text) > TILE_PX:
        text = text[1:]
    return "..." + text
