"""Pixel caches of synthetic images, and views of them, for the tests of views."""

import io

import numpy as np
from PIL import Image

from decant.data.pixels import PixelCache, build_pixel_cache
from decant.data.views import ViewSet, draw_views, view_keys
from decant.study import Views

PLAIN = Views(scale=(1, 1), ratio=(1, 1), flip=0, brightness=0, contrast=0, saturation=0)
VARIED = Views(rotate_deg=20, erase=0.5, mix=0.5)
NO_PARTNERS = np.array([], dtype=np.int64)


def smooth(seed, width, height):
    """Three channels of soft waves, on which all ways of resizing nearly agree."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    fx, fy, phase = random.uniform(0.5, 2, 3), random.uniform(0.5, 2, 3), random.uniform(0, 6, 3)
    waves = np.sin(2 * np.pi * (x[..., None] / width * fx + y[..., None] / height * fy) + phase)
    return np.rint(127.5 + 110 * waves).astype(np.uint8)


def noise(seed, width, height):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cache_of(folder, images, px):
    """A cache whose row n is images[n]."""

    def png(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        return file.getvalue()

    contents = [f"{number:04d}" for number in range(len(images))]
    build_pixel_cache(folder, zip(contents, map(png, images), strict=True), contents, px)
    return PixelCache(folder)


def render_one(cache, policy, size, row=0, view=0, partners=NO_PARTNERS):
    """float64 [size, size, 3] of one view."""
    views = ViewSet.of(cache, policy, 0, partners)
    return views.render(np.array([row]), view, size)[0].permute(1, 2, 0).numpy().astype(np.float64)


def resized(pixels, size, box=None):
    """Pillow's antialiased resize, float64 [size, size, 3]."""
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image).astype(np.float64)


def draw_many(policy, n=4000, partners=NO_PARTNERS, seed=1):
    return draw_views(policy, view_keys(seed, [str(i) for i in range(n)]), np.full((n, 2), 100), 0, partners)
