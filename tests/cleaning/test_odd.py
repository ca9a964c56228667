"""Images that are visibly dark, bright, blurred or uniform are found; ordinary images are not."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from decant.cleaning.odd import find_odd


def scene(seed: int) -> np.ndarray:
    """Return an image with sharp edges everywhere: 32 x 32 blocks of random colour, 128 px per side."""
    blocks = np.random.default_rng(seed).integers(30, 226, (32, 32, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((128, 128), Image.Resampling.NEAREST))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels.astype(np.uint8)).resize((32, 32), Image.Resampling.BOX))


ORDINARY = scene(0)
SPOILT = {
    "too dark": ORDINARY * 0.1,
    "too bright": 235 + ORDINARY * 0.05,
    "nearly uniform": 120 + ORDINARY * 0.05,
    "blurred": np.asarray(Image.fromarray(scene(1)).filter(ImageFilter.GaussianBlur(16))).astype(float) * 4 - 380,
}


@pytest.mark.parametrize("what", SPOILT)
def test_returns_what_is_odd_at_its_position(what: str) -> None:
    spoilt = thumbnail(np.clip(SPOILT[what], 0, 255))
    assert find_odd(np.stack([thumbnail(ORDINARY), spoilt, thumbnail(scene(2))])) == {1: what}


def test_no_images_give_no_odd_images() -> None:
    assert find_odd(np.zeros((0, 32, 32, 3), np.uint8)) == {}
