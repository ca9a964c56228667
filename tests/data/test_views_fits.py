"""Views of networks that stretch, pad, or have rectangular inputs: they show what evaluation shows."""

import numpy as np
import pytest
import torch
from view_caches import NO_PARTNERS, PLAIN, VARIED, cache_of, noise, smooth

from decant.data.evaluation_transform import evaluation_transform
from decant.data.geometry import InputGeometry
from decant.data.preprocessing import FILL
from decant.data.views import ViewSet, draw_views, view_keys
from decant.study import Views

WIDE, TALL = (300, 150), (130, 260)  # width, height; padded to 120 px and to 80 x 160 px without rounding
CROPPED = PLAIN.model_copy(update={"scale": (0.3, 0.9), "ratio": (0.8, 1.25)})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return cache_of(tmp_path_factory.mktemp("cache"), [smooth(1, *WIDE), smooth(2, *TALL)], 256)


def views_of(cache, policy, geometry):
    return ViewSet.of(cache, policy, 3, NO_PARTNERS, geometry)


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        (InputGeometry("stretch"), 96),
        (InputGeometry("stretch", 1.875), (96, 180)),
        (InputGeometry("pad"), 120),
        (InputGeometry("pad", 2.0), (80, 160)),
    ],
)
@pytest.mark.parametrize("row", [0, 1])
def test_a_plain_view_is_what_evaluation_shows(cache, geometry, size, row):
    image = smooth(row + 1, *(WIDE, TALL)[row])
    view = views_of(cache, PLAIN, geometry).render(np.array([row]), 0, size)[0].float()
    expected = 255 * evaluation_transform(image, geometry.preprocessing(size, 1.0))
    inside = ((expected - FILL).abs() > 1).all(dim=0)[2:-2, 2:-2]  # without the edge of the image in the grey
    difference = (view - expected).abs().amax(dim=0)[2:-2, 2:-2]
    assert difference[inside].quantile(0.99) <= 5 and difference.median() <= 2


@pytest.mark.parametrize("row", [0, 1])
def test_a_plain_view_in_a_rectangle_is_the_largest_crop_of_its_aspect_ratio(cache, row):
    geometry = InputGeometry("crop", 1.5)
    view = views_of(cache, PLAIN, geometry).draw(np.array([row]), 0)
    width, height = (WIDE, TALL)[row]
    shown = abs(view.affine[0, 0, 0]) * width, view.affine[0, 1, 1] * height
    assert shown[0] / shown[1] == pytest.approx(1.5)
    assert shown[0] == pytest.approx(width) or shown[1] == pytest.approx(height)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_the_same_view_shows_the_same_part_at_every_size_and_shape(cache, fit):
    views = views_of(cache, Views(rotate_deg=10, scale=(0.4, 1.0)), InputGeometry(fit, 1.5))
    rows = np.arange(2)
    for view in range(3):
        large = views.render(rows, view, (160, 240)).float()
        for size in ((64, 96), (96, 112), 96):
            shape = (size, size) if isinstance(size, int) else size
            small = torch.nn.functional.interpolate(large, shape, mode="bilinear", antialias=True)
            difference = (small - views.render(rows, view, size)).abs()
            assert difference.mean() <= 1.5 and difference.flatten().quantile(0.98) <= 8
            other = (small - views.render(rows, view + 1, size)).abs()
            assert other.mean(dim=(1, 2, 3)).min() > 5  # another view differs


def drawn(policy, geometry, width, height, n=2000):
    keys = view_keys(1, [str(number) for number in range(n)])
    return draw_views(policy, keys, np.full((n, 2), (width, height)), 0, NO_PARTNERS, geometry)


def sides_in_pixels(parameters, width, height):
    return abs(parameters.affine[:, 0, 0]) * width, parameters.affine[:, 1, 1] * height


def test_a_stretched_view_is_distorted_as_evaluation_distorts_it(cache):
    crop_width, crop_height = sides_in_pixels(drawn(CROPPED, InputGeometry("stretch"), *WIDE), *WIDE)
    relative = crop_width / crop_height / (WIDE[0] / WIDE[1])
    assert 0.8 - 1e-3 <= relative.min() <= 0.82 and 1.2 <= relative.max() <= 1.25 + 1e-3
    assert np.median(relative) == pytest.approx(1, abs=0.02)


def test_a_stretched_view_of_a_wide_image_may_show_its_whole_width(cache):
    policy = CROPPED.model_copy(update={"scale": (0.9, 1.0)})
    share_x = abs(drawn(policy, InputGeometry("stretch"), *WIDE).affine[:, 0, 0])
    cropped = abs(drawn(policy, InputGeometry("crop"), *WIDE).affine[:, 0, 0])
    assert share_x.max() > 0.99 and cropped.max() < 0.67


def test_crops_lie_within_the_frame(cache):
    for geometry in (InputGeometry("stretch"), InputGeometry("crop", 1.5), InputGeometry("pad")):
        parameters = drawn(CROPPED, geometry, *WIDE)
        half = np.abs(parameters.affine[:, [0, 1], [0, 1]])
        reach = np.abs(parameters.affine[:, :, 2]) + half
        limit = (1, WIDE[0] / WIDE[1]) if geometry.fit == "pad" else (1, 1)
        assert (reach <= np.array(limit) + 1e-5).all()


def test_for_square_images_and_inputs_every_fit_draws_todays_views():
    for width in (100, 37):
        expected = drawn(VARIED, InputGeometry(), width, width)
        for fit in ("stretch", "pad"):
            assert np.array_equal(drawn(VARIED, InputGeometry(fit), width, width).affine, expected.affine)


@pytest.mark.parametrize("geometry", [InputGeometry("stretch", 1.5), InputGeometry("pad", 1.5)])
def test_rectangular_views_are_bit_identical_in_any_batch(tmp_path, geometry):
    cache = cache_of(tmp_path, [noise(n, 90 + n, 60) for n in range(5)], (64, 96))
    views = ViewSet.of(cache, VARIED, 0, np.arange(5), geometry)
    rows = np.arange(5)
    together = views.render(rows, 2, (48, 72))
    assert together.shape == (5, 3, 48, 72)
    for row in rows:
        assert torch.equal(views.render(np.array([row]), 2, (48, 72))[0], together[row])
    assert torch.equal(views.render(rows[::-1].copy(), 2, (48, 72)).flip(0), together)
