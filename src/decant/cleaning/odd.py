"""Odd pictures: too dark, too bright, blurred or with next to nothing on them, judged by their thumbnails."""

import numpy as np
from numpy.typing import NDArray

DARK, BRIGHT, FLAT = 25.0, 230.0, 8.0  # grey levels: mean below, mean above, standard deviation below
# Mean absolute Laplacian over standard deviation, at 32 px: only a blur that is plain at that size shows. 0.2 is
# reached by one in a thousand pictures of CIFAR-10 and by none of two sets of vehicle photos (median 0.7).
BLURRED = 0.19
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def find_odd(thumbnails: NDArray[np.uint8]) -> dict[int, str]:
    """Position -> what is odd. thumbnails: uint8 [n, S, S, 3]."""
    luma = thumbnails.astype(np.float32) @ LUMA
    mean, spread = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    sharpness = np.abs(_laplacian(luma)).mean(axis=(1, 2)) / np.maximum(spread, 1e-6)
    verdicts = [("too dark", mean < DARK), ("too bright", mean > BRIGHT), ("nearly uniform", spread < FLAT)]
    verdicts.append(("blurred", sharpness < BLURRED))
    odd: dict[int, str] = {}
    for what, found in verdicts:  # the first that holds
        for position in np.flatnonzero(found):
            odd.setdefault(int(position), what)
    return dict(sorted(odd.items()))


def _laplacian(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Five-point Laplacian of the inner pixels; float32 [n, S - 2, S - 2]."""
    inner = luma[:, 1:-1, 1:-1]
    return 4 * inner - luma[:, :-2, 1:-1] - luma[:, 2:, 1:-1] - luma[:, 1:-1, :-2] - luma[:, 1:-1, 2:]
