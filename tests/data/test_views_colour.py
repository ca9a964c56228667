"""Colours of views: brightness, contrast and saturation, compared with Pillow and NumPy."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from view_caches import NO_PARTNERS, PLAIN, cache_of, draw_many, noise, render_one

from decant.data.views import ViewSet


def test_colours_are_bit_identical_if_the_policy_does_not_change_them(tmp_path):
    pixels = noise(0, 64, 64)
    cache = cache_of(tmp_path, [pixels], 64)
    assert np.array_equal(render_one(cache, PLAIN, 64), pixels)
    colour = draw_many(PLAIN, 50).colour
    assert np.array_equal(colour, np.broadcast_to(np.eye(3, 4, dtype=np.float32), colour.shape))


@pytest.mark.parametrize("view", range(4))
@pytest.mark.parametrize("kind", ["brightness", "saturation"])
def test_brightness_and_saturation_agree_with_pillow(tmp_path, kind, view):
    pixels = noise(0, 64, 64)
    cache = cache_of(tmp_path, [pixels], 64)
    policy = PLAIN.model_copy(update={kind: 0.8})
    matrix = ViewSet.of(cache, policy, 0, NO_PARTNERS).draw(np.array([0]), view).colour[0].astype(np.float64)
    factor = matrix[0, 0] - matrix[1, 0] if kind == "saturation" else matrix[0, 0]
    assert 0.2 <= factor <= 1.8 and abs(factor - 1) > 0.01
    enhance = {"brightness": ImageEnhance.Brightness, "saturation": ImageEnhance.Color}[kind]
    expected = np.asarray(enhance(Image.fromarray(pixels)).enhance(factor)).astype(np.float64)
    assert np.abs(render_one(cache, policy, 64, view=view) - expected).max() <= 2


@pytest.mark.parametrize("view", range(4))
def test_contrast_scales_about_mid_grey(tmp_path, view):
    pixels = noise(0, 64, 64)
    cache = cache_of(tmp_path, [pixels], 64)
    policy = PLAIN.model_copy(update={"contrast": 0.6})
    factor = float(ViewSet.of(cache, policy, 0, NO_PARTNERS).draw(np.array([0]), view).colour[0, 0, 0])
    assert 0.4 <= factor <= 1.6 and abs(factor - 1) > 0.01
    expected = np.clip(127.5 + factor * (pixels - 127.5), 0, 255)
    assert np.abs(render_one(cache, policy, 64, view=view) - expected).max() <= 0.501


def test_colour_factors_span_their_range():
    for kind in ("brightness", "contrast"):
        factor = draw_many(PLAIN.model_copy(update={kind: 0.3})).colour[:, 0, 0]
        assert np.quantile(factor, [0, 0.5, 1]) == pytest.approx([0.7, 1.0, 1.3], abs=0.02)
        assert factor.min() >= 0.7 - 1e-6 and factor.max() <= 1.3 + 1e-6
