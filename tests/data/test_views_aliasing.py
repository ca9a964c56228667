"""Sampling of views: fine detail becomes grey instead of aliasing, and coarse detail stays sharp."""

import numpy as np
import pytest
from view_caches import PLAIN, cache_of, render_one, resized


def stripes(px, period):
    columns = np.where(np.arange(px) % period < period // 2, 255, 0).astype(np.uint8)
    return np.broadcast_to(columns[None, :, None], (px, px, 3)).copy()


def deviation(image):
    """Largest deviation of a column from the mean of a view of vertical stripes, grey levels."""
    columns = image[..., 0].mean(axis=0)[2:-2]
    return np.abs(columns - columns.mean()).max()


def without_pyramid(cache):
    """Planted: single samples of the largest level at any size."""
    cache.levels_for = lambda side, size: (np.zeros(len(side), np.int64), np.ones(len(side), np.int64))
    return cache


@pytest.mark.parametrize("size", [30, 36, 40, 42])
def test_stripes_that_are_too_fine_for_a_small_view_become_grey(tmp_path, size):
    cache = cache_of(tmp_path, [stripes(128, 4)], 128)
    assert deviation(render_one(cache, PLAIN, size)) < 20
    assert deviation(render_one(without_pyramid(cache), PLAIN, size)) > 60


def test_fine_stripes_are_attenuated_at_sizes_between_two_levels(tmp_path):
    cache = cache_of(tmp_path, [stripes(128, 4)], 128)
    sizes = range(24, 64)
    assert max(deviation(render_one(cache, PLAIN, size)) for size in sizes) < 64  # the original deviates by 127.5
    without_pyramid(cache)
    assert max(deviation(render_one(cache, PLAIN, size)) for size in sizes) > 120


def test_a_view_between_two_levels_is_nearly_as_sharp_as_an_antialiased_resize(tmp_path):
    """Sampling the next smaller level and enlarging it would lose a third of the detail."""
    detail = np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)
    cache = cache_of(tmp_path, [detail], 160)
    expected = resized(detail, 100)
    assert sharpness(render_one(cache, PLAIN, 100)) > 0.85 * sharpness(expected)
    cache.levels = cache.levels[1:]  # planted: the smaller level
    assert sharpness(render_one(cache, PLAIN, 100)) < 0.5 * sharpness(expected)


def sharpness(image):
    """Mean absolute difference of neighbouring columns, grey levels."""
    return np.abs(np.diff(image.astype(float), axis=1)).mean()


def test_coarse_stripes_stay_sharp(tmp_path):
    cache = cache_of(tmp_path, [stripes(128, 16)], 128)
    assert np.array_equal(render_one(cache, PLAIN, 128), stripes(128, 16))
    cache.levels = cache.levels[-1:]  # planted: always the smallest level
    assert np.abs(np.diff(render_one(cache, PLAIN, 128), axis=1)).max() < 128
