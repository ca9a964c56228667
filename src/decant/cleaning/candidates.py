"""Candidate pairs of near duplicates: nearest neighbours in feature space and in thumbnail space.

n images make n²/2 pairs. Only a few neighbours of each image, in both spaces, are then compared in detail
(`alignment`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

Float = NDArray[np.float32]
Pairs = NDArray[np.int64]

FEATURE_DIMENSIONS = 128  # 1,280 features keep their nearest neighbours in 128, at a tenth of the time
THUMBNAIL_DIMENSIONS = 64
QUERY_BLOCK = 8192
# Cosines of centred vectors. 99.4 % of 500 made copies of photos and 99.6 % of 457 pairs of CIFAR-10 reach the sum.
# It halves the number of pairs to align. Without features there are only thumbnails, and more pairs are aligned.
LOWEST_COSINE_SUM = 0.95
LOWEST_THUMBNAIL_COSINE = 0.65


@dataclass(frozen=True)
class Space:
    """Unit vectors of the images [n, d], and of the mirrored images [n, d] or None."""

    plain: Float
    mirrored: Float | None

    def cosine(self, pairs: Pairs) -> Float:
        """Return the cosine of each pair, with or without mirroring one image, whichever is larger; float32 [m]."""
        first, second = pairs[:, 0], pairs[:, 1]
        plain = np.einsum("md,md->m", self.plain[first], self.plain[second])
        if self.mirrored is None:
            return plain
        return np.maximum(plain, np.einsum("md,md->m", self.mirrored[first], self.plain[second]))


def candidate_pairs(
    thumbnails: NDArray[np.uint8], features: Float | None, features_mirrored: Float | None, neighbours: int
) -> Pairs:
    """Return distinct pairs (i, j), i < j, sorted; int64 [m, 2].

    `thumbnails`: uint8 [n, 32, 32, 3]; `features`, `features_mirrored` (of the mirrored images): float32 [n, d].
    """
    project = _Projection(_descriptors(thumbnails), THUMBNAIL_DIMENSIONS)
    appearance = Space(project(_descriptors(thumbnails)), project(_descriptors(thumbnails[:, :, ::-1])))
    if features is None:
        pairs = _neighbours(appearance, neighbours)
        pairs = pairs[appearance.cosine(pairs) >= LOWEST_THUMBNAIL_COSINE]
        crops = [_neighbours(Space(appearance.plain, project(crop)), 2) for crop in _crop_descriptors(thumbnails)]
        return _distinct(np.concatenate([pairs, *crops]))
    project = _Projection(features, FEATURE_DIMENSIONS)
    content = Space(project(features), None if features_mirrored is None else project(features_mirrored))
    pairs = _distinct(np.concatenate([_neighbours(appearance, neighbours), _neighbours(content, neighbours)]))
    return pairs[content.cosine(pairs) + appearance.cosine(pairs) >= LOWEST_COSINE_SUM]


def _distinct(pairs: Pairs) -> Pairs:
    ordered = np.sort(pairs, axis=1)
    return np.unique(ordered[ordered[:, 0] != ordered[:, 1]], axis=0)


class _Projection:
    """Centre vectors, project them on the leading principal axes, scale them to unit length."""

    def __init__(self, vectors: Float, dimensions: int) -> None:
        self.mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.axes: Float | None = None
        if vectors.shape[1] > dimensions:
            centred = vectors - self.mean
            _, axes = np.linalg.eigh(centred.T @ centred)
            self.axes = np.ascontiguousarray(axes[:, -dimensions:])

    def __call__(self, vectors: Float) -> Float:
        centred = vectors - self.mean
        projected = centred if self.axes is None else centred @ self.axes
        return np.asarray(projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12), np.float32)


def _neighbours(space: Space, neighbours: int) -> Pairs:
    """Return pairs (image, neighbour), also neighbours of the mirrored image; exact search, in blocks."""
    index = NearestNeighbors(n_neighbors=min(neighbours + 1, len(space.plain)), algorithm="brute")
    index.fit(space.plain)
    pairs = []
    for queries in (space.plain,) if space.mirrored is None else (space.plain, space.mirrored):
        for start in range(0, len(queries), QUERY_BLOCK):
            nearest = index.kneighbors(queries[start : start + QUERY_BLOCK], return_distance=False)
            rows = np.broadcast_to(np.arange(len(nearest))[:, None] + start, nearest.shape)
            pairs.append(np.stack([rows.ravel(), nearest.ravel()], axis=1).astype(np.int64))
    return _distinct(np.concatenate(pairs))


def _crop_descriptors(thumbnails: NDArray[np.uint8]) -> list[Float]:
    """Return descriptors of five crops (28 of 32 pixels per side) of the thumbnails and of the mirrored thumbnails."""
    corners = ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))
    return [
        _descriptors(turned[:, top : top + 28, left : left + 28])
        for turned in (thumbnails, thumbnails[:, :, ::-1])
        for top, left in corners
    ]


def _descriptors(thumbnails: NDArray[np.uint8]) -> Float:
    """Return each image as 8 x 8 cells, with zero mean per channel and unit length; float32 [n, 192]."""
    edges = np.round(np.linspace(0, thumbnails.shape[1], 9)).astype(np.int64)
    widths = np.diff(edges).astype(np.float32)
    sums = np.add.reduceat(thumbnails, edges[:-1], axis=1, dtype=np.float32)
    sums = np.add.reduceat(sums, edges[:-1], axis=2, dtype=np.float32)
    cells = sums / (widths[:, None] * widths[None, :])[None, :, :, None]
    flat = (cells - cells.mean(axis=(1, 2), keepdims=True)).reshape(len(cells), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), np.float32)
