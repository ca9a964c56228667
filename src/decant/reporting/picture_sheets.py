"""Sheets of photos with captions, as JPEG files small enough for a repository.

A sheet's comment contains the places of its tiles and their whole captions as JSON, so that slides can show each tile
with its caption in their own type.
"""

import io
import json
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
MOST_COMMENT = 65_533  # bytes, of JPEG
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
    with replacing(path) as partial:
        partial.write_bytes(small_jpeg(sheet, described(tiles, columns, side, step_y)))


def described(tiles: Sequence[Tile], columns: int, side: int, step_y: int) -> bytes:
    """The comment of a sheet; empty if it would be too long."""
    places = [(GAP + n % columns * (side + GAP), GAP + n // columns * step_y) for n in range(len(tiles))]
    captions = [[" ".join(line.split()) for line in tile.caption] for tile in tiles]
    text = json.dumps({"side": side, "places": places, "captions": captions}, ensure_ascii=False).encode()
    return text if len(text) <= MOST_COMMENT else b""


def sheet_tiles(path: Path) -> list[tuple[Image.Image, list[str]]]:
    """The tiles of a sheet, each with its caption; [] if the sheet has no comment that describes them."""
    with Image.open(path) as sheet:
        try:
            described = json.loads(sheet.info.get("comment", b""))
            boxes = [
                (left, top, left + described["side"], top + described["side"]) for left, top in described["places"]
            ]
            captions = [[str(line) for line in caption] for caption in described["captions"]]
        except (ValueError, KeyError, TypeError):
            return []
        return [(sheet.crop(box), caption) for box, caption in zip(boxes, captions, strict=False)]


def fitted(pixels: npt.NDArray[np.uint8], side: int) -> Image.Image:
    """The whole picture, uint8 [H, W, 3], with its longer side `side` pixels long."""
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def small_jpeg(image: Image.Image, comment: bytes = b"") -> bytes:
    """JPEG without metadata but the comment, at the best of QUALITIES that stays below MOST_BYTES, else at the last."""
    data = b""
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True, comment=comment)
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
