"""Parameters of views: within the ranges and with the probabilities of their policy."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_caches import draw_many

from decant.data.views import draw_views, view_keys
from decant.study import Views

policies = st.builds(
    Views,
    scale=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted).map(tuple),
    ratio=st.tuples(st.floats(0.4, 2.5), st.floats(0.4, 2.5)).map(sorted).map(tuple),
    flip=st.floats(0, 1),
    rotate_deg=st.floats(0, 90),
    brightness=st.floats(0, 0.9),
    contrast=st.floats(0, 0.9),
    saturation=st.floats(0, 0.9),
    erase=st.floats(0, 1),
    mix=st.floats(0, 1),
)


shapes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@settings(max_examples=60)
@given(policies, st.lists(shapes, min_size=1, max_size=6), st.integers(0, 10_000), st.integers(0, 99))
def test_parameters_stay_within_their_policy(policy, sizes, view, seed):
    sizes = np.array(sizes)
    keys = view_keys(seed, [str(n) for n in range(len(sizes))])
    drawn = draw_views(policy, keys, sizes, view, np.array([4, 9]))
    assert all(len(getattr(drawn, field.name)) == len(sizes) for field in fields(drawn))
    assert all(np.isfinite(getattr(drawn, field.name)).all() for field in fields(drawn))

    scale = sizes.astype(np.float64)
    pixels = drawn.affine.astype(np.float64)[:, :, :2] * scale[:, :, None]  # columns: the crop's sides as vectors
    crop_width, crop_height = np.linalg.norm(pixels[:, :, 0], axis=1), np.linalg.norm(pixels[:, :, 1], axis=1)
    across = (pixels[:, :, 0] * pixels[:, :, 1]).sum(axis=1)
    np.testing.assert_allclose(across / (crop_width * crop_height), 0, atol=1e-5)  # right angles stay right

    ratio = crop_width / crop_height
    assert (ratio > policy.ratio[0] * (1 - 1e-5)).all() and (ratio < policy.ratio[1] * (1 + 1e-5)).all()
    share = crop_width * crop_height / scale.prod(axis=1)
    np.testing.assert_allclose(drawn.side, np.sqrt(share), rtol=1e-5)
    assert (share < policy.scale[1] * (1 + 1e-5)).all()
    shrunk = np.isclose(crop_width, scale[:, 0], rtol=1e-5) | np.isclose(crop_height, scale[:, 1], rtol=1e-5)
    assert (shrunk | (share > policy.scale[0] * (1 - 1e-5))).all()  # smaller only if the crop would not fit

    centre = drawn.affine[:, :, 2]
    room = 1 - np.stack([crop_width, crop_height], axis=1) / scale
    assert (np.abs(centre) <= room + 1e-5).all()

    angle = np.degrees(np.arctan2(-pixels[:, 0, 1], pixels[:, 1, 1]))
    assert (np.abs(angle) <= policy.rotate_deg + 1e-4).all()
    assert ((drawn.share >= 0.5) & (drawn.share <= 1)).all()
    assert ((drawn.fill > 0) & (drawn.fill <= 1)).all()
    assert np.isin(drawn.partner, [-1, 4, 9]).all() and (drawn.share[drawn.partner < 0] == 1).all()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips_erasing_and_mixing_have_the_probabilities_of_the_policy(probability):
    drawn = draw_many(Views(flip=probability, erase=probability, mix=probability), partners=np.arange(10))
    events = {
        "flip": drawn.affine[:, 0, 0] < 0,
        "erase": drawn.box[:, 2] > drawn.box[:, 0],
        "mix": drawn.partner >= 0,
    }
    error = 5 * np.sqrt(probability * (1 - probability) / 4000)
    assert {name: abs(happened.mean() - probability) <= error for name, happened in events.items()} == {
        "flip": True,
        "erase": True,
        "mix": True,
    }
    if 0 < probability < 1:  # and independently of each other
        assert np.abs(np.corrcoef([*events.values()]) - np.eye(3)).max() < 0.1


def test_crops_span_the_range_of_area_and_ratio_and_reach_every_corner():
    drawn = draw_many(Views(scale=(0.2, 0.5), ratio=(0.8, 1.25), flip=0))
    width, height = drawn.affine[:, 0, 0].astype(np.float64), drawn.affine[:, 1, 1].astype(np.float64)
    area, log_ratio = width * height, np.log(width / height)
    assert np.quantile(area, [0, 0.5, 1]) == pytest.approx([0.2, 0.35, 0.5], abs=0.01)
    assert np.quantile(log_ratio, [0, 0.5, 1]) == pytest.approx([np.log(0.8), 0, np.log(1.25)], abs=0.02)
    reach = drawn.affine[:, :, 2] / (1 - np.stack([width, height], axis=1))
    for quantile, expected in ((0, -1), (0.5, 0), (1, 1)):
        assert np.quantile(reach, quantile, axis=0) == pytest.approx([expected] * 2, abs=0.06)
