"""Odd images: too dark, too bright, blurred or nearly uniform, measured on their thumbnails."""

import numpy as np
from numpy.typing import NDArray

DARK, BRIGHT, FLAT = 25.0, 230.0, 8.0  # grey levels: mean below, mean above, standard deviation below
# Mean absolute Laplacian divided by the standard deviation, at 32 px: only a strong blur is visible at that size. One
# in a thousand images of CIFAR-10 has 0.2 or less, and no image of two sets of vehicle photos (median 0.7).
BLURRED = 0.19
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def find_odd(thumbnails: NDArray[np.uint8]) -> dict[int, str]:
    """Return position -> fault of the odd images. thumbnails: uint8 [n, S, S, 3], RGB."""
    luma = thumbnails.astype(np.float32) @ LUMA
    mean, spread = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    sharpness = np.abs(_laplacian(luma)).mean(axis=(1, 2)) / np.maximum(spread, 1e-6)
    verdicts = [("too dark", mean < DARK), ("too bright", mean > BRIGHT), ("nearly uniform", spread < FLAT)]
    verdicts.append(("blurred", sharpness < BLURRED))
    odd: dict[int, str] = {}
    for fault, is_odd in verdicts:  # an image with several faults has the first
        for position in np.flatnonzero(is_odd):
            odd.setdefault(int(position), fault)
    return dict(sorted(odd.items()))


def _laplacian(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the five-point Laplacian of the inner pixels; float32 [n, S - 2, S - 2]."""
    inner = luma[:, 1:-1, 1:-1]
    return 4 * inner - luma[:, :-2, 1:-1] - luma[:, 2:, 1:-1] - luma[:, 1:-1, :-2] - luma[:, 1:-1, 2:]
