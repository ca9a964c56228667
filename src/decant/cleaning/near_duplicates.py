"""Near duplicates: images that are the same photo, resized, re-encoded, cropped or mirrored.

Neighbours in feature space and in thumbnail space are the candidate pairs (`candidates`). The correlation of the
aligned thumbnails decides (`alignment`). Network features cannot decide alone: two photos of one model of car are as
similar to them as two copies of one photo.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from decant.cleaning.alignment import SIDE_PX, aligned_correlation
from decant.cleaning.candidates import candidate_pairs

# Two images with a higher correlation of aligned detail count as one photo. Made copies of real photos (re-encoded at
# quality 15-50, cropped to 80 %) have at least 0.90; 95 % of the known near duplicates of CIFAR-10 have at least 0.80.
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.80, 0.90
BACKGROUND_FROM = 0.5
LARGEST_FALSE_SHARE = 0.25
NEIGHBOURS = 6  # nearest images with which an image is compared, in each space
FLAT_GREY_LEVELS = 4.0  # thumbnails with a smaller deviation have no content to compare
PAIR_COLUMNS = ["i", "j", "score", "mirrored"]


def find_near_duplicates(
    thumbnails: NDArray[np.uint8],
    features: NDArray[np.float32] | None = None,
    features_mirrored: NDArray[np.float32] | None = None,
    *,
    threshold: float | None = None,
) -> pd.DataFrame:
    """Return pairs of images that are copies of one photo: i, j (int64, i < j), score, mirrored (bool), sorted.

    `thumbnails`: uint8 [n, 32, 32, 3], RGB, the whole image resized to a square. `features`: float32 [n, d] of a
    frozen network, of any length; `features_mirrored`: the same for the mirrored images. `score` in [0, 1] is the
    correlation of the aligned detail: 1 for an exact copy, about 0.9 for a copy that was cropped by 20 % per side or
    that is small and re-encoded. `threshold`: the lowest score of a near duplicate; None: `copy_threshold` chooses it.

    Each image is compared with its NEIGHBOURS nearest neighbours in each space. So not all pairs of a large set of
    copies are returned, but enough to connect them. Memory grows with n, not with n². Raises ValueError for other
    shapes.
    """
    _check(thumbnails, features, features_mirrored)
    first_like = _first_with_same_pixels(thumbnails)
    varied = thumbnails.reshape(len(thumbnails), SIDE_PX**2, 3).std(axis=1).max(axis=1) >= FLAT_GREY_LEVELS
    same = np.flatnonzero((first_like != np.arange(len(thumbnails))) & varied)
    identical = pd.DataFrame({"i": first_like[same], "j": same, "score": 1.0, "mirrored": False})
    distinct = np.flatnonzero((first_like == np.arange(len(thumbnails))) & varied)
    if len(distinct) < 2:
        return _sorted(identical)
    pairs = distinct[
        candidate_pairs(
            thumbnails[distinct],
            None if features is None else features[distinct],
            None if features_mirrored is None else features_mirrored[distinct],
            NEIGHBOURS,
        )
    ]
    fit = aligned_correlation(thumbnails, pairs)
    if threshold is None:
        threshold = copy_threshold(fit.detail)
    score = fit.detail.clip(0, 1).astype(np.float64)
    copies = pd.DataFrame({"i": pairs[:, 0], "j": pairs[:, 1], "score": score, "mirrored": fit.mirrored})
    copies = copies[score >= threshold]
    return _sorted(pd.concat([identical, copies]) if len(identical) else copies)


def copy_threshold(scores: NDArray[np.floating]) -> float:
    """Return the score in [0.80, 0.90] that separates copies from look-alikes, from scores [m] of all aligned pairs.

    The scores of look-alikes (one camera, one model of car, one template) fall by a constant factor per 0.1. The factor
    is estimated between 0.5 and 0.8 and extrapolated. The threshold is the lowest above which at most a quarter of the
    pairs are expected to be look-alikes: high for data with many look-alikes, low for other data.
    """
    edges = BACKGROUND_FROM + 0.1 * np.arange(4)
    low, _, high = np.histogram(scores, bins=edges)[0]
    # Per 0.1 of score. Measured factors are 0.55 to 0.66; above 0.75 the tail contains copies.
    fall = min(np.sqrt((high + 1) / (low + 1)), 0.75)
    tail = high * fall / (1 - fall)  # expected number above 0.80 by extrapolation
    for threshold in np.arange(LOWEST_THRESHOLD, HIGHEST_THRESHOLD, 0.01):
        expected = tail * fall ** ((threshold - LOWEST_THRESHOLD) / 0.1)
        if expected <= LARGEST_FALSE_SHARE * np.count_nonzero(scores >= threshold):
            return float(threshold)
    return HIGHEST_THRESHOLD


def _sorted(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.sort_values(["i", "j"], ignore_index=True)[PAIR_COLUMNS]


def _first_with_same_pixels(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the index of the first thumbnail with the same pixels: copies would fill each other's neighbour lists."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(thumbnail.tobytes(), k) for k, thumbnail in enumerate(thumbnails)], np.int64)


def _check(
    thumbnails: NDArray[np.uint8], features: NDArray[np.float32] | None, mirrored: NDArray[np.float32] | None
) -> None:
    if thumbnails.dtype != np.uint8 or thumbnails.shape[1:] != (SIDE_PX, SIDE_PX, 3):
        raise ValueError(f"thumbnails must be uint8 [n, {SIDE_PX}, {SIDE_PX}, 3], not {thumbnails.shape}")
    for name, given in (("features", features), ("features_mirrored", mirrored)):
        if given is not None and (given.ndim != 2 or len(given) != len(thumbnails)):
            raise ValueError(f"{name} must be [{len(thumbnails)}, d], one row per thumbnail, not {given.shape}")
    if features is None and mirrored is not None:
        raise ValueError("features_mirrored without features: give both, or neither")
