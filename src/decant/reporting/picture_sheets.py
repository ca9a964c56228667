"""Sheets of photos with captions, as JPEG files small enough for a repository."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from decant.workspace import replacing

SIDE, GAP, LINE, TYPE = 150, 8, 17, 13  # pixels: a tile's side, between tiles, a line of a caption, its letters
MOST_BYTES = 150_000
QUALITIES = (88, 80, 70, 60, 50, 40)
GREY = (238, 241, 244)


@dataclass(frozen=True)
class Tile:
    """pixels: uint8 [H, W, 3]. caption: lines below the picture."""

    pixels: npt.NDArray[np.uint8]
    caption: Sequence[str] = ()


def write_sheet(tiles: Sequence[Tile], columns: int, path: Path, side: int = SIDE) -> None:
    """Write the tiles row by row, each picture whole within a square; nothing for no tiles."""
    if not tiles:
        return
    lines = max(len(tile.caption) for tile in tiles)
    step_x, step_y = side + GAP, side + lines * LINE + GAP
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (min(columns, len(tiles)) * step_x + GAP, rows * step_y + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), caption_font()
    for number, tile in enumerate(tiles):
        left, top = GAP + number % columns * step_x, GAP + number // columns * step_y
        draw.rectangle((left, top, left + side - 1, top + side - 1), fill=GREY)
        picture = fitted(tile.pixels, side)
        sheet.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))
        for line, text in enumerate(tile.caption):
            draw.text((left, top + side + 2 + line * LINE), shortened(text, font, side), fill=(34, 34, 34), font=font)
    with replacing(path) as beside:
        beside.write_bytes(small_jpeg(sheet))


def fitted(pixels: npt.NDArray[np.uint8], side: int) -> Image.Image:
    """The whole picture, uint8 [H, W, 3], with its longer side `side` pixels long."""
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def small_jpeg(image: Image.Image) -> bytes:
    """JPEG without metadata, at the best of QUALITIES that stays below MOST_BYTES, else at the last."""
    data = b""
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        data = file.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data


def caption_font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), TYPE)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, cut at its end to the width in pixels."""
    line = " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def overlaid(pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The picture with a heat map over it: red where `heat` is high. heat: [H, W] in [0, 1]."""
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    share = 0.25 + 0.45 * heat[..., None]
    return (pixels * (1 - share) + colours * share).round().astype(np.uint8)
