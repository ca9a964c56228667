"""Image alignment: how strongly two thumbnails correlate after the best flip, scale and shift.

A copy that was resized or re-encoded matches without a change, a cropped copy after a scale and a shift per axis, a
mirrored copy after a flip. `aligned_correlation` searches for this alignment and returns two correlations of the pixels
that overlap: of the pixels themselves (composition, colour) and of their detail (edges, texture). Two different photos
of similar things have a high first correlation and a low second one.

The search starts from a coarse grid of crop windows and is refined by Gauss-Newton steps on the residual. Both images
have zero mean and unit variance, so brightness and contrast have no effect. (The additive form of Evangelidis &
Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", 2008, restricted to scale
and shift per axis.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

SIDE_PX = 32  # thumbnails are resized to this square, whatever their aspect ratio
COARSE_PX = 8
SHORTEST_WINDOW, LONGEST_WINDOW = 0.68, 1.47  # a crop of 80 % per side is a window of 0.8; the rest is margin
LARGEST_SHIFT = 0.5  # as a share of the half side: a window of 0.5 at an edge needs it
SMALLEST_OVERLAP = 0.5
COARSE_FLOOR, HALF_FLOOR = 0.78, 0.8  # pairs with a lower correlation at 8 px and at 16 px are dropped
CHUNK = 256  # pairs per batch: small enough for the cache of the processor


@dataclass(frozen=True)
class Fit:
    """Results per pair: float32 [m] in [-1, 1]; `mirrored` is bool [m]."""

    correlation: Float
    detail: Float
    mirrored: NDArray[np.bool_]


def aligned_correlation(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]) -> Fit:
    """Correlate pairs of thumbnails after the best mirroring, scale and shift.

    `thumbnails`: uint8 [n, 32, 32, 3]; `pairs`: int64 [m, 2], indices into them. The order within a pair has
    almost no effect, because windows of both are tried. Pairs that cannot match are dropped early. Their detail is 0,
    and so is that of images without contrast.
    """
    parts = [
        _fit_chunk(thumbnails[pairs[start : start + CHUNK, 0]], thumbnails[pairs[start : start + CHUNK, 1]])
        for start in range(0, len(pairs), CHUNK)
    ]
    if not parts:
        return Fit(np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, bool))
    return Fit(
        np.concatenate([part.correlation for part in parts]),
        np.concatenate([part.detail for part in parts]),
        np.concatenate([part.mirrored for part in parts]),
    )


def _fit_chunk(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Fit:
    """Align coarsely, then more finely, and drop a pair as soon as it cannot match."""
    moving, fixed = first.astype(np.float32), second.astype(np.float32)
    mirrored, window, correlation = _best_window(moving, fixed)
    moving = np.where(mirrored[:, None, None, None], moving[:, :, ::-1], moving)
    detail = np.zeros(len(moving), np.float32)
    for level_px, floor, steps in ((SIDE_PX // 2, COARSE_FLOOR, 8), (SIDE_PX, HALF_FLOOR, 5)):
        alive = np.flatnonzero(correlation >= floor)
        if len(alive) == 0:
            return Fit(correlation, detail, mirrored)
        left, right = _shrunk(moving[alive], level_px), _shrunk(fixed[alive], level_px)
        if level_px == SIDE_PX:  # colour no longer helps at this level; grey takes a third of the time
            left, right = left.mean(axis=3, keepdims=True), right.mean(axis=3, keepdims=True)
        window[alive], correlation[alive] = _refine(left, right, window[alive], steps)
    correlation[alive], detail[alive] = _agreement(moving[alive], fixed[alive], window[alive])
    return Fit(correlation, detail, mirrored)


# A window is float32 [m, 4]: (scale_y, shift_y, scale_x, shift_x); output u in [-1, 1] reads scale * u + shift.


def _coarse_windows() -> Float:
    """Return crop windows of 1, 0.9 and 0.8 per side, at both ends and in the middle; float32 [49, 4]."""
    axis = [(1.0, 0.0)] + [(side, (1 - side) * end) for side in (0.9, 0.8) for end in (-1, 0, 1)]
    return np.array([(*vertical, *horizontal) for vertical in axis for horizontal in axis], np.float32)


def _inverse(window: Float) -> Float:
    """Return the inverse window: if a crop of A matches B, then B enlarged matches A."""
    scale, shift = window[:, 0::2], window[:, 1::2]
    return np.stack([1 / scale, -shift / scale], axis=2).reshape(-1, 4).astype(np.float32)


def _best_window(moving: Float, fixed: Float) -> tuple[NDArray[np.bool_], Float, Float]:
    """Try 2 flips x 2 directions x 49 windows at 8 px; return mirrored, window and correlation of the best."""
    windows = _coarse_windows()
    # A crop of the mirrored image is a mirrored crop, so it is enough to mirror the targets.
    scores = np.concatenate([_coarse_scores(moving, fixed, windows), _coarse_scores(fixed, moving, windows)], axis=1)
    best = scores.argmax(axis=1)
    variant, chosen = best // len(windows), windows[best % len(windows)]
    chosen = np.where((variant == 1)[:, None], chosen * np.array([1, 1, 1, -1], np.float32), chosen)
    window = np.where((variant >= 2)[:, None], _inverse(chosen), chosen).astype(np.float32)
    return variant % 2 == 1, window, scores[np.arange(len(scores)), best]


def _coarse_scores(cropped: Float, target: Float, windows: Float) -> Float:
    """Correlate every window of `cropped` at 8 px with the target and with the mirrored target.

    Returns float32 [m, 2 * windows].
    """
    count = COARSE_PX * COARSE_PX
    source = _shrunk(cropped, 2 * COARSE_PX).transpose(0, 3, 1, 2).reshape(-1, 4 * count)
    crops = (source @ _window_operator(windows)).reshape(len(cropped), 3, len(windows), count)
    sums = np.matmul(crops, np.ones(count, np.float32))
    spread = (np.einsum("mcwd,mcwd->mcw", crops, crops) - sums**2 / count).sum(axis=1)
    small = _shrunk(target, COARSE_PX)
    small = small - small.mean(axis=(1, 2), keepdims=True)
    both = np.stack([small, small[:, :, ::-1]], axis=1).reshape(len(target), 2, count, 3).transpose(0, 3, 2, 1)
    product = np.matmul(crops, both).sum(axis=1)  # the target has zero mean, so the mean of the crop cancels
    deviation = np.sqrt(np.maximum(spread, 0) * (small**2).sum(axis=(1, 2, 3))[:, None])
    scores = product / np.maximum(deviation, 3 * count * 0.25)[..., None]
    return np.ascontiguousarray(scores.transpose(0, 2, 1).reshape(len(cropped), -1), np.float32)


def _window_operator(windows: Float) -> Float:
    """Return all crops as one matrix from 16 x 16 to 8 x 8 pixels; float32 [256, windows * 64]."""
    rows = _hat(windows[:, 0], windows[:, 1], COARSE_PX, 2 * COARSE_PX)
    columns = _hat(windows[:, 2], windows[:, 3], COARSE_PX, 2 * COARSE_PX)
    operator = np.einsum("wyi,wxj->ijwyx", rows, columns)
    return np.ascontiguousarray(operator.reshape(4 * COARSE_PX**2, -1), np.float32)


def _shrunk(images: Float, side_px: int) -> Float:
    """Average boxes of pixels down to side_px; return full-size images unchanged."""
    factor = images.shape[1] // side_px
    if factor == 1:
        return images
    return images.reshape(len(images), side_px, factor, side_px, factor, images.shape[3]).mean(axis=(2, 4))


def _hat(scale: Float, shift: Float, out_px: int, in_px: int) -> Float:
    """Return linear interpolation along one axis as a matrix, edges repeated; float32 [m, out_px, in_px]."""
    position = np.clip(_positions(scale, shift, out_px, in_px), 0, in_px - 1)
    return np.maximum(0, 1 - np.abs(position[:, :, None] - np.arange(in_px, dtype=np.float32)))


def _positions(scale: Float, shift: Float, out_px: int, in_px: int) -> Float:
    """Return the position in the input that each output pixel reads; float32 [m, out_px]."""
    unit = (np.arange(out_px, dtype=np.float32) + 0.5) / out_px * 2 - 1
    return ((scale[:, None] * unit + shift[:, None] + 1) * in_px / 2 - 0.5).astype(np.float32)


def _resample(images: Float, rows: Float, columns: Float) -> Float:
    """Compute rows @ image @ columns^T per channel."""
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    out = np.matmul(np.matmul(rows[:, None], channels_first), columns[:, None].transpose(0, 1, 3, 2))
    return np.asarray(out.transpose(0, 2, 3, 1), np.float32)


def _warped(moving: Float, window: Float) -> tuple[Float, Float]:
    """Return the window of each image, and a mask (float32 0 or 1, [m, s, s, 1]) of its pixels inside the image."""
    side_px = moving.shape[1]
    inside = []
    for axis in (0, 2):
        position = _positions(window[:, axis], window[:, axis + 1], side_px, side_px)
        inside.append((position > -0.5) & (position < side_px - 0.5))
    mask = (inside[0][:, :, None] & inside[1][:, None, :])[..., None].astype(np.float32)
    rows = _hat(window[:, 0], window[:, 1], side_px, side_px)
    columns = _hat(window[:, 2], window[:, 3], side_px, side_px)
    return _resample(moving, rows, columns), mask


def _normalised(images: Float, mask: Float) -> tuple[Float, Float]:
    """Scale to zero mean per channel, unit variance in the mask, 0 outside; also return the deviation [m, 1, 1, 1]."""
    count = np.maximum(mask.sum(axis=(1, 2), keepdims=True), 1)
    centred = (images - (images * mask).sum(axis=(1, 2), keepdims=True) / count) * mask
    deviation = np.sqrt((centred**2).sum(axis=(1, 2, 3), keepdims=True) / (count * images.shape[3]))
    return centred / np.maximum(deviation, 0.5), deviation


def _refine(moving: Float, fixed: Float, window: Float, steps: int) -> tuple[Float, Float]:
    """Run Gauss-Newton steps on the window; return the best window per pair and its correlation."""
    best, best_score = window, np.full(len(window), -np.inf, np.float32)
    for step in range(steps + 1):
        warped, mask = _warped(moving, window)
        target, _ = _normalised(fixed, mask)
        current, deviation = _normalised(warped, mask)
        count = fixed.shape[3] * mask.sum(axis=(1, 2, 3))
        enough = mask.mean(axis=(1, 2, 3)) >= SMALLEST_OVERLAP
        score = np.where(enough, (target * current).sum(axis=(1, 2, 3)) / np.maximum(count, 1), -1)
        better = score > best_score
        best = np.where(better[:, None], window, best)
        best_score = np.where(better, score, best_score)
        if step < steps:
            change = _gauss_newton(warped, deviation, mask, target - current, window)
            window = _limited(window + change)
    return best, best_score


def _gauss_newton(warped: Float, deviation: Float, mask: Float, residual: Float, window: Float) -> Float:
    """Return the damped least-squares change of (scale, shift) per axis for the residual; float32 [m, 4]."""
    side_px = warped.shape[1]
    unit = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px * 2 - 1
    gradients = []
    for axis, scale in ((1, window[:, 0]), (2, window[:, 2])):
        slope = np.gradient(warped, axis=axis) * (side_px / 2) / np.maximum(deviation, 0.5)
        slope = slope / scale[:, None, None, None] * mask  # per unit of the moving image's coordinate
        along = unit[None, :, None, None] if axis == 1 else unit[None, None, :, None]
        gradients += [slope * along, slope]
    jacobian = np.stack(gradients, axis=1).reshape(len(warped), 4, -1)
    normal = np.matmul(jacobian, jacobian.transpose(0, 2, 1))
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal = normal + np.eye(4, dtype=np.float32) * (1e-3 * trace + 1e-3)
    right = np.matmul(jacobian, residual.reshape(len(warped), -1, 1))
    change = np.linalg.solve(normal, right)[..., 0]
    return np.clip(change, -0.1, 0.1).astype(np.float32)  # the linear approximation holds for one or two pixels


def _limited(window: Float) -> Float:
    low = np.array([SHORTEST_WINDOW, -LARGEST_SHIFT] * 2, np.float32)
    high = np.array([LONGEST_WINDOW, LARGEST_SHIFT] * 2, np.float32)
    return np.clip(window, low, high)


def _agreement(moving: Float, fixed: Float, window: Float) -> tuple[Float, Float]:
    """Return two correlations in the final window: of the pixels, and of the pixels minus their 5 x 5 blur."""
    warped, mask = _warped(moving, window)
    enough = mask.mean(axis=(1, 2, 3)) >= SMALLEST_OVERLAP
    count = np.maximum(3 * mask.sum(axis=(1, 2, 3)), 1)
    results = []
    for left, right in ((warped, fixed), (warped - _blurred(warped), fixed - _blurred(fixed))):
        agreement = (_normalised(left, mask)[0] * _normalised(right, mask)[0]).sum(axis=(1, 2, 3)) / count
        results.append(np.where(enough, agreement, 0).astype(np.float32))
    return results[0], results[1]


def _blurred(images: Float) -> Float:
    """Apply a 5 x 5 box blur, edges repeated, by running sums."""
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (3, 2)
        sums = np.cumsum(np.pad(images, padding, mode="edge"), axis=axis, dtype=np.float32)
        length = images.shape[axis]
        upper = np.take(sums, np.arange(5, 5 + length), axis=axis)
        lower = np.take(sums, np.arange(0, length), axis=axis)
        images = np.asarray((upper - lower) / 5, np.float32)
    return images
