"""Pixel cache: every image decoded once, as uint8 in memory-mapped files, in a few sizes.

Images are squeezed to one shape, by default a square; `sizes` keeps their real shape, and views undo the squeeze.
"""

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from decant.data.images import decode
from decant.data.pool import parallel
from decant.data.preprocessing import InputPx, height_width
from decant.errors import UserError
from decant.workspace import write_json

LEVELS = 3  # height and width in full, halves and quarters
SMALLEST_PX = 16


class PixelCache:
    """n decoded images, ordered by `contents`, the sorted SHA-256 (hex) of their files.

    sizes: int32 [n, 2], width and height of the originals. levels: memory maps, uint8 [n, height, width, 3], largest
    first.
    """

    def __init__(self, folder: Path) -> None:
        self.contents: list[str] = json.loads((folder / "contents.json").read_text())
        self.sizes: np.ndarray = np.load(folder / "sizes.npy", allow_pickle=False)
        paths = sorted(folder.glob("level_*.npy"))
        self.levels = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        self._rows = {content: row for row, content in enumerate(self.contents)}

    def __len__(self) -> int:
        return len(self.contents)

    def rows_of(self, contents: Iterable[str]) -> np.ndarray:
        """Row numbers, int64 [n]. Raises KeyError for an image that is not in the cache."""
        return np.array([self._rows[content] for content in contents], dtype=np.int64)

    def read(self, rows: np.ndarray, level: int) -> np.ndarray:
        """uint8 [len(rows), height, width, 3] of one level."""
        return np.asarray(self.levels[level][rows])

    def levels_for(self, side: np.ndarray, size: InputPx) -> tuple[np.ndarray, np.ndarray]:
        """The level to sample for crops of `side` (share of the image's side) at `size` px, and the samples per pixel.

        Returns int64 [B] each. The level is the smallest with at least one pixel per pixel of the view, because
        enlarging a smaller one blurs; else the largest. Single samples of a much finer level would alias, so several
        per axis are averaged: about as many as the level has pixels per pixel of the view. For a rectangle, the
        geometric mean of height and width counts.
        """
        sides = np.array([math.sqrt(level.shape[1] * level.shape[2]) for level in self.levels])  # largest first
        per_pixel = side[:, None] * sides[None, :] / math.sqrt(math.prod(height_width(size)))
        level = (per_pixel >= 1 - 1e-9).sum(axis=1).clip(min=1) - 1
        samples = np.rint(per_pixel[np.arange(len(side)), level]).clip(min=1)
        return level, samples.astype(np.int64)


def level_shapes(px: InputPx) -> list[tuple[int, int]]:
    """Height and width of the levels, largest first."""
    height, width = height_width(px)
    shapes = [(height // 2**level, width // 2**level) for level in range(LEVELS)]
    return [shape for shape in shapes if min(shape) >= SMALLEST_PX] or [(height, width)]


def build_pixel_cache(folder: Path, images: Iterable[tuple[str, bytes]], contents: list[str], px: InputPx) -> None:
    """Decode `images` (content, encoded bytes; each content once, in any order) and write the cache to `folder`.

    px: side, or height and width, of the largest level. Raises BrokenImage for an image that cannot be decoded (the
    manifest excludes them), ValueError if the image of a content is missing, and UserError if the disk is too full.
    """
    order = {content: row for row, content in enumerate(sorted(contents))}
    bytes_needed = len(order) * 3 * sum(height * width for height, width in level_shapes(px))
    if shutil.disk_usage(folder).free < bytes_needed:  # writing to a memory map on a full disk is a bus error
        raise UserError(
            f"the pixel cache needs {bytes_needed / 1e9:.1f} GB in {folder}: free space there, or lower data.cache_px"
        )
    arrays = [
        np.lib.format.open_memmap(
            folder / f"level_{number}.npy", mode="w+", dtype=np.uint8, shape=(len(order), *shape, 3)
        )
        for number, shape in enumerate(level_shapes(px))
    ]
    sizes = np.zeros((len(order), 2), dtype=np.int32)

    def store(encoded: tuple[str, bytes]) -> None:
        content, data = encoded
        pixels = decode(data)
        row = order[content]
        sizes[row] = pixels.shape[1], pixels.shape[0]
        image = Image.fromarray(pixels)
        for array in arrays:
            array[row] = np.asarray(image.resize(array.shape[2:0:-1], Image.Resampling.BILINEAR))

    for _ in parallel(store, images):
        pass
    missing = [content for content, row in order.items() if not sizes[row].all()]
    if missing:
        raise ValueError(
            f"{len(missing)} images are missing, first {missing[0]}: the source returned fewer than were requested"
        )
    for array in arrays:
        array.flush()
    np.save(folder / "sizes.npy", sizes, allow_pickle=False)
    write_json(folder / "contents.json", list(order))
