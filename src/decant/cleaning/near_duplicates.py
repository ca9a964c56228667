"""Near duplicates: pictures that are the same photo, resized, re-encoded, cropped or mirrored.

Neighbours in feature and thumbnail space propose pairs (`candidates`); laying one thumbnail over the other decides
(`alignment`). Network features alone cannot decide: of two photos of one model of car they say what they say of two
copies of one photo.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from decant.cleaning.alignment import SIDE_PX, aligned_correlation
from decant.cleaning.candidates import candidate_pairs

# The correlation of aligned detail above which two pictures count as one photo. Made copies of real photos
# (re-encoded at quality 15-50, cropped to 80 %) have 0.90 and more; of CIFAR-10's known near duplicates 95 % have 0.80.
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.80, 0.90
BACKGROUND_FROM = 0.5
LARGEST_FALSE_SHARE = 0.25
FLAT_GREY_LEVELS = 4.0  # thumbnails that vary less show nothing that could be the same
PAIR_COLUMNS = ["i", "j", "score", "mirrored"]


def find_near_duplicates(
    thumbnails: NDArray[np.uint8],
    features: NDArray[np.float32] | None = None,
    features_mirrored: NDArray[np.float32] | None = None,
    *,
    neighbours: int = 6,
    threshold: float | None = None,
) -> pd.DataFrame:
    """Pairs of pictures that are copies of one photo: i, j (int64, i < j), score, mirrored (bool), by i and j.

    `thumbnails`: uint8 [n, 32, 32, 3], RGB, the whole picture squashed to a square. `features`: float32 [n, d] of a
    frozen network, of any length; `features_mirrored`: the same of the mirrored pictures. `score` in [0, 1] is the
    correlation of the aligned detail: 1 for a copy, about 0.9 for one cropped by 20 % a side or small and re-encoded.
    `threshold`: the lowest score that counts; None chooses it by `copy_threshold`.

    Every picture is compared with its `neighbours` nearest in each space, so of a large set of copies not all pairs
    are listed, but enough to join them. Memory grows with n, not with n². Raises ValueError for other shapes.
    """
    _check(thumbnails, features, features_mirrored)
    first_like = _first_with_same_pixels(thumbnails)
    varied = thumbnails.reshape(len(thumbnails), SIDE_PX**2, 3).std(axis=1).max(axis=1) >= FLAT_GREY_LEVELS
    same = np.flatnonzero((first_like != np.arange(len(thumbnails))) & varied)
    twins = pd.DataFrame({"i": first_like[same], "j": same, "score": 1.0, "mirrored": False})
    chosen = np.flatnonzero((first_like == np.arange(len(thumbnails))) & varied)
    if len(chosen) < 2:
        return _sorted(twins)
    pairs = chosen[
        candidate_pairs(
            thumbnails[chosen],
            None if features is None else features[chosen],
            None if features_mirrored is None else features_mirrored[chosen],
            neighbours,
        )
    ]
    fit = aligned_correlation(thumbnails, pairs)
    if threshold is None:
        threshold = copy_threshold(fit.detail)
    score = fit.detail.clip(0, 1).astype(np.float64)
    found = pd.DataFrame({"i": pairs[:, 0], "j": pairs[:, 1], "score": score, "mirrored": fit.mirrored})
    found = found[score >= threshold]
    return _sorted(pd.concat([twins, found]) if len(twins) else found)


def copy_threshold(scores: NDArray[np.floating]) -> float:
    """Where copies stand out from look-alikes, in [0.80, 0.90], from the scores [m] of all pairs that were fitted.

    Look-alikes (one camera, one model of car, one template) make a tail of scores that falls by a steady factor; the
    factor is read between 0.5 and 0.8 and carried on. The threshold is the lowest where at most a quarter of the
    pairs above it belong to that tail. Sets with many look-alikes get a strict one, the others a tolerant one.
    """
    edges = BACKGROUND_FROM + 0.1 * np.arange(4)
    low, _, high = np.histogram(scores, bins=edges)[0]
    # Per 0.1 of score. Measured falls lie at 0.55 to 0.66; more than 0.75 is no tail of look-alikes but copies in it.
    fall = min(np.sqrt((high + 1) / (low + 1)), 0.75)
    tail = high * fall / (1 - fall)  # expected above 0.80 if it went on so
    for threshold in np.arange(LOWEST_THRESHOLD, HIGHEST_THRESHOLD, 0.01):
        expected = tail * fall ** ((threshold - LOWEST_THRESHOLD) / 0.1)
        if expected <= LARGEST_FALSE_SHARE * np.count_nonzero(scores >= threshold):
            return float(threshold)
    return HIGHEST_THRESHOLD


def _sorted(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.sort_values(["i", "j"], ignore_index=True)[PAIR_COLUMNS]


def _first_with_same_pixels(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index of the first thumbnail with exactly these pixels; copies would crowd each other's neighbour lists."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(picture.tobytes(), k) for k, picture in enumerate(thumbnails)], np.int64)


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
