"""Pixel caches that the tests of views read and do not change."""

import pytest
from view_caches import cache_of, noise, smooth


@pytest.fixture(scope="session")
def mixed_cache(tmp_path_factory):
    """Twelve images with different aspect ratios, half of them noise."""
    images = [(smooth, noise)[n % 2](n, 40 + 23 * (n % 5), 200 - 17 * (n % 7)) for n in range(12)]
    return cache_of(tmp_path_factory.mktemp("mixed"), images, 64)


@pytest.fixture(scope="session")
def square(tmp_path_factory):
    return cache_of(tmp_path_factory.mktemp("square"), [smooth(n, 256, 256) for n in range(3)], 256)


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    return cache_of(tmp_path_factory.mktemp("wide"), [smooth(7, 400, 200)], 256)
