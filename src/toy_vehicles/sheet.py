"""A contact sheet of clean images."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from toy_vehicles.scene import CLASSES, draw


def sample_sheet(seed: int, columns: int = 10, rows: int = 4, *, cell_px: int = 144) -> Image.Image:
    """Return an RGB image of clean samples with their class names; with 10 columns, one column per class.

    Cells are filled row by row with the classes in turn. The same arguments give the same pixels.
    """
    gap, caption = max(6, cell_px // 12), max(18, cell_px // 7)
    step_x, step_y = cell_px + gap, cell_px + caption + gap
    sheet = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), (250, 250, 248))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(max(11, cell_px // 10))
    corners = _rounded_mask(cell_px)
    for cell in range(columns * rows):
        row, column = divmod(cell, columns)
        label = CLASSES[cell % len(CLASSES)]
        rng = np.random.default_rng([seed, cell])
        left, top = gap + column * step_x, gap + row * step_y
        sheet.paste(draw(label, rng, cell_px, cell_px, easy=row % 2 == 0), (left, top), corners)
        pen.text(
            (left + cell_px / 2, top + cell_px + caption / 2),
            label,
            fill=(64, 68, 76),
            font=font,
            anchor="mm",
        )
    return sheet


def _rounded_mask(side: int) -> Image.Image:
    mask = Image.new("L", (side * 4, side * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side * 4 - 1, side * 4 - 1), radius=side * 0.28, fill=255)
    return mask.resize((side, side), Image.Resampling.LANCZOS)
