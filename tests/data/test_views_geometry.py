"""Geometry of views: crop, flip, rotation and aspect ratio, compared with Pillow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from view_caches import NO_PARTNERS, PLAIN, cache_of, render_one, resized, smooth

from decant.data.views import ViewSet, warp
from decant.study import Views


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_plain_view_at_the_size_of_a_level_is_pillows_antialiased_resize(square, size):
    assert np.abs(render_one(square, PLAIN, size) - resized(smooth(0, 256, 256), size)).max() <= 1


@pytest.mark.parametrize("size", [50, 96, 200])
def test_a_plain_view_at_any_size_is_close_to_an_antialiased_resize(square, size):
    assert np.abs(render_one(square, PLAIN, size) - resized(smooth(0, 256, 256), size)).max() <= 4


def test_a_flipped_view_is_the_mirrored_view(square):
    flipped = PLAIN.model_copy(update={"flip": 1.0})
    assert np.abs(render_one(square, flipped, 128) - render_one(square, PLAIN, 128)[:, ::-1]).max() <= 1
    assert np.abs(render_one(square, flipped, 128) - render_one(square, PLAIN, 128)).max() > 50


def crop_box(parameters, width, height, index=0):
    """left, top, right, bottom of an unrotated view in pixels of the original."""
    (a, _, cx), (_, e, cy) = parameters.affine[index].astype(np.float64)
    x, y, half_width, half_height = (cx + 1) / 2 * width, (cy + 1) / 2 * height, abs(a) * width / 2, e * height / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


@pytest.mark.parametrize("view", range(6))
def test_a_crop_is_pillows_crop_of_the_original(wide, view):
    policy = PLAIN.model_copy(update={"scale": (0.2, 0.6), "ratio": (0.75, 1.333)})
    parameters = ViewSet.of(wide, policy, 0, NO_PARTNERS).draw(np.array([0]), view)
    left, top, right, bottom = crop_box(parameters, 400, 200)
    assert left >= -1e-3 and top >= -1e-3 and right <= 400 + 1e-3 and bottom <= 200 + 1e-3
    box = (max(left, 0), max(top, 0), min(right, 400), min(bottom, 200))
    expected = resized(smooth(7, 400, 200), 96, box)
    # Pillow does not read pixels outside the box, so the outermost pixels may differ.
    assert np.abs(render_one(wide, policy, 96, view=view) - expected)[1:-1, 1:-1].max() <= 5


def test_the_affine_map_of_the_top_left_quarter_shows_that_quarter(square):
    parameters = ViewSet.of(square, PLAIN, 0, NO_PARTNERS).draw(np.array([0]), 0)
    quarter = np.array([[[0.5, 0, -0.5], [0, 0.5, -0.5]]], dtype=np.float32)
    shown = warp(square, np.array([0]), replace(parameters, affine=quarter, side=np.array([0.5])), 64)
    original = smooth(0, 256, 256).astype(np.float64)
    expected = original[:128, :128].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown[0].permute(1, 2, 0).numpy() - expected).max() <= 3


@pytest.mark.parametrize("view", [1, 2, 3, 5])
def test_a_rotated_view_is_pillows_rotation(square, view):
    policy = PLAIN.model_copy(update={"rotate_deg": 40.0})
    (cos, _, _), (sin, _, _) = ViewSet.of(square, policy, 0, NO_PARTNERS).draw(np.array([0]), view).affine[0]
    angle = np.degrees(np.arctan2(sin, cos))
    assert abs(angle) > 1
    image = Image.fromarray(smooth(0, 256, 256)).rotate(angle, resample=Image.Resampling.BICUBIC)
    y, x = np.mgrid[0:256, 0:256] - 127.5
    disc = np.hypot(x, y) < 120
    difference = np.abs(render_one(square, policy, 256, view=view) - np.asarray(image).astype(np.float64))
    assert difference[disc].max() <= 2


@pytest.mark.parametrize("view", range(3))
def test_the_same_view_shows_the_same_crop_at_96_and_224_pixels(square, view):
    policy = Views(rotate_deg=15, scale=(0.4, 1.0), mix=0.5)
    views = ViewSet.of(square, policy, 9, np.arange(3))
    rows = np.arange(3)
    large = views.render(rows, view, 224).float()
    small = torch.nn.functional.interpolate(large, (96, 96), mode="bilinear", antialias=True)
    assert (small - views.render(rows, view, 96)).abs().max() <= 6
    assert (small - views.render(rows, view + 1, 96)).abs().amax(dim=(1, 2, 3)).min() > 30  # another view differs


def disc_image(width, height, radius):
    y, x = np.mgrid[0:height, 0:width]
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) <= radius
    return np.where(inside[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize(("width", "height"), [(400, 200), (200, 400), (300, 300), (512, 128)])
@pytest.mark.parametrize("rotate_deg", [0.0, 45.0])
def test_a_circle_stays_round_for_every_aspect_ratio(tmp_path, width, height, rotate_deg):
    radius = 0.25 * min(width, height)  # small enough that its reflection at the edge is outside the view
    cache = cache_of(tmp_path, [disc_image(width, height, radius)], 256)
    policy = PLAIN.model_copy(update={"rotate_deg": rotate_deg, "flip": 0.5})
    views = ViewSet.of(cache, policy, 0, NO_PARTNERS)
    for view in range(12):
        parameters = views.draw(np.array([0]), view)
        centred = replace(parameters, affine=parameters.affine * np.array([1, 1, 0], dtype=np.float32))
        mask = warp(cache, np.array([0]), centred, 128)[0, 0].numpy() > 127
        # The largest square crop: a view of 128 px spans the shorter side of the image.
        diameter = 2 * radius / min(width, height) * 128
        for extent in (mask.any(axis=0).sum(), mask.any(axis=1).sum()):
            assert abs(extent - diameter) <= 3
        assert mask.sum() == pytest.approx(np.pi / 4 * diameter**2, rel=0.06)


def test_shifts_are_whole_pixels_up_to_the_share_and_reach_over_the_border(tmp_path):
    cache = cache_of(tmp_path, [smooth(3, 40, 40)], 40)
    shifted = PLAIN.model_copy(update={"shift": 0.1})
    drawn = [ViewSet.of(cache, shifted, 1, NO_PARTNERS).draw(np.array([0]), view).affine[0] for view in range(300)]
    pixels = np.array([affine[:, 2] for affine in drawn]) * 40 / 2
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-4)
    assert set(np.rint(pixels[:, 0])) == set(np.rint(pixels[:, 1])) == set(range(-4, 5))


def test_a_shifted_view_is_the_image_moved_and_reflected_at_its_border(tmp_path):
    image = smooth(3, 32, 32)
    cache = cache_of(tmp_path, [image], 32)
    views = ViewSet.of(cache, PLAIN.model_copy(update={"shift": 0.1}), 1, NO_PARTNERS)
    for view in range(5):
        affine = views.draw(np.array([0]), view).affine[0]
        right, down = round(affine[0, 2] * 16), round(affine[1, 2] * 16)
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="symmetric")
        expected = padded[4 + down : 36 + down, 4 + right : 36 + right]
        found = views.render(np.array([0]), view, 32)[0].permute(1, 2, 0).numpy()
        assert np.abs(found.astype(int) - expected).max() <= 1
