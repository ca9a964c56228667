"""Copies of a test image in an extra source are all found, however many kinds there are."""

import numpy as np
import pandas as pd
from PIL import Image

from decant.cleaning.extra import check_extra
from decant.cleaning.near_duplicates import find_near_duplicates
from decant.data.manifest import COLUMNS, EXTRA, Manifest
from decant.stages.clean import Looks, near_pairs

EACH, OTHERS = 12, 60
NONE = pd.DataFrame(columns=["i", "j", "score"]).astype({"i": int, "j": int})


def smooth(seed: int) -> np.ndarray:
    """An image of soft spots, uint8 [96, 96, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC))


def thumbnail(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BOX))


def colours(image: np.ndarray) -> np.ndarray:
    """Features that a crop hardly changes: the histogram of colours, float32 [512]."""
    cells = (image.reshape(-1, 3) // 32) @ np.array([64, 8, 1])
    return np.bincount(cells, minlength=512).astype(np.float32) / len(cells)


def noisy(image: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 2, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def with_copies() -> tuple[Manifest, Looks]:
    """One test image and others of train; in the extra source noisy copies of the first and noisy crops of it."""
    first = smooth(0)
    images = [first, *(smooth(n) for n in range(1, OTHERS))]
    images += [noisy(first, n) for n in range(EACH)] + [noisy(first, 100 + n)[10:90, 6:86] for n in range(EACH)]
    thumbnails = np.stack([thumbnail(image) for image in images])
    features = np.stack([colours(image) for image in images])
    names = [f"{n:03d}" for n in range(len(images))]
    table = pd.DataFrame(dict.fromkeys(COLUMNS, names)).assign(
        given_label="car", label="car", split=["test", *["train"] * (len(images) - 1)], weight=1.0, action="none",
        reason="", width=9, height=9,
    )  # fmt: skip
    table[EXTRA] = [0] * OTHERS + [1] * (2 * EACH)
    return Manifest(table, ["car"]), Looks(features, features, thumbnails)


def test_copies_of_one_kind_do_not_hide_those_of_another() -> None:
    manifest, looks = with_copies()
    once = find_near_duplicates(looks.thumbnails, looks.features, looks.mirrored)
    assert len(check_extra(manifest, NONE, once).leaks) < 2 * EACH  # so the test can fail
    assert len(check_extra(manifest, NONE, near_pairs(manifest, looks, NONE)).leaks) == 2 * EACH
