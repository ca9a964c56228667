"""The one evaluation transform, against Pillow and torchvision."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from decant.data.evaluation_transform import evaluation_transform
from decant.data.preprocessing import Preprocessing

sides = st.integers(1, 5000)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pillow(picture, preprocessing):
    """Resize in Pillow, crop by hand: float64 [3, S, S] in [0, 255]."""
    size = preprocessing.input_px
    height, width = preprocessing.resized_shape(*picture.shape[:2])
    resized = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)
    top, left = (height - size) // 2, (width - size) // 2
    return resized[top : top + size, left : left + size].transpose(2, 0, 1)


def grey_levels_apart(picture, preprocessing):
    ours = evaluation_transform(picture, preprocessing).numpy().astype(np.float64) * 255
    assert ours.shape == (3, preprocessing.input_px, preprocessing.input_px)
    return np.abs(ours - by_pillow(picture, preprocessing)).max()


@given(sides, sides, st.integers(1, 600))
def test_the_shorter_side_becomes_the_size_asked_for_and_the_longer_keeps_the_shape(height, width, resize_px):
    shape = Preprocessing(resize_px).resized_shape(height, width)
    assert min(shape) == resize_px and all(type(side) is int for side in shape)
    exact = max(height, width) * resize_px / min(height, width)
    assert abs(max(shape) - exact) <= 0.5
    assert (shape[0] > shape[1]) <= (height > width)


@given(sides, sides, st.integers(1, 600))
def test_turning_a_picture_turns_its_resized_shape(height, width, resize_px):
    preprocessing = Preprocessing(resize_px)
    assert preprocessing.resized_shape(width, height) == preprocessing.resized_shape(height, width)[::-1]


@given(sides, sides)
def test_a_picture_of_the_right_size_is_not_resized(height, width):
    assert Preprocessing(min(height, width)).resized_shape(height, width) == (height, width)


@pytest.mark.parametrize(
    ("shape", "input_px", "crop_ratio"),
    [
        ((101, 67), 32, 1.0),
        ((67, 101), 33, 0.875),
        ((333, 77), 48, 1.0),
        ((31, 500), 31, 1.0),  # resized on neither side
        ((20, 27), 64, 1.0),  # enlarged
        ((255, 256), 97, 0.8),
        ((640, 480), 96, 0.95),
    ],
)
def test_odd_sizes_agree_with_pillow_within_a_grey_level(shape, input_px, crop_ratio):
    assert grey_levels_apart(noise(*shape), Preprocessing(input_px, crop_ratio)) <= 1.01


@settings(max_examples=40)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(2, 64), st.floats(0.5, 1), st.integers(0, 99))
def test_any_picture_agrees_with_pillow_within_a_grey_level(height, width, input_px, crop_ratio, seed):
    assert grey_levels_apart(noise(height, width, seed), Preprocessing(input_px, crop_ratio)) <= 1.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 57), (57, 1), (2, 301), (300, 1)])
def test_pictures_one_pixel_thin_agree_with_pillow(shape):
    assert grey_levels_apart(noise(*shape), Preprocessing(24)) <= 1.01


def test_it_agrees_with_torchvision_in_float():
    picture = noise(90, 135)  # 60 x 40: a longer side that is no whole number is rounded by us and cut by torchvision
    image = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    expected = vision.center_crop(vision.resize(image, [40], antialias=True), [40, 40])
    assert (evaluation_transform(picture, Preprocessing(40)) - expected).abs().max() < 1e-5


def test_a_picture_of_the_input_size_goes_through_unchanged():
    picture = noise(32, 32)
    ours = evaluation_transform(picture, Preprocessing(32))
    assert ours.dtype == torch.float32
    assert torch.equal(ours, torch.from_numpy(picture).permute(2, 0, 1) / 255)


def test_the_crop_is_the_centre_and_an_odd_rest_stays_right_and_below():
    picture = noise(33, 40)
    wide = evaluation_transform(picture, Preprocessing(33))
    assert torch.equal(wide, torch.from_numpy(picture[:, 3:36]).permute(2, 0, 1) / 255)
    tall = evaluation_transform(picture.transpose(1, 0, 2), Preprocessing(33))
    assert torch.equal(tall, wide.transpose(1, 2))


def test_a_preprocessing_survives_json() -> None:
    preprocessing = Preprocessing(160, 0.9)
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


@pytest.mark.parametrize(("input_px", "crop_ratio", "resize_px"), [(224, 0.875, 256), (96, 1.0, 96), (160, 0.9, 178)])
def test_the_crop_keeps_its_share_of_the_shorter_side(input_px, crop_ratio, resize_px):
    assert Preprocessing(input_px, crop_ratio).resize_px == resize_px


def test_a_smaller_crop_ratio_shows_a_smaller_middle():
    picture = np.zeros((100, 100, 3), dtype=np.uint8)
    picture[25:75, 25:75] = 255
    assert evaluation_transform(picture, Preprocessing(50, 0.5)).min() == 1
    assert evaluation_transform(picture, Preprocessing(50, 1.0)).min() == 0


def test_red_green_and_blue_keep_their_places():
    picture = np.zeros((50, 70, 3), dtype=np.uint8)
    picture[...] = (255, 51, 0)
    channels = evaluation_transform(picture, Preprocessing(16))
    assert torch.allclose(channels, torch.tensor([1.0, 0.2, 0.0]).view(3, 1, 1).expand(3, 16, 16), atol=1e-6)


@pytest.mark.parametrize("shape", [(97, 61), (7, 300), (500, 13)])
def test_black_and_white_stay_within_0_and_1(shape):
    picture = np.where(noise(*shape) > 127, 255, 0).astype(np.uint8)
    ours = evaluation_transform(picture, Preprocessing(40))
    assert ours.min() >= 0 and ours.max() <= 1


def test_stripes_too_fine_to_be_seen_become_their_mean():
    picture = np.zeros((256, 256, 3), dtype=np.uint8)
    picture[:, ::2] = 255
    inside = evaluation_transform(picture, Preprocessing(32))[:, :, 2:-2]
    assert (inside - 0.5).abs().max() < 0.02


def test_views_of_an_array_are_read_right_and_left_alone():
    picture = noise(40, 60)
    before = picture.copy()
    mirrored = evaluation_transform(picture[:, ::-1], Preprocessing(20))
    assert torch.equal(mirrored, evaluation_transform(np.ascontiguousarray(picture[:, ::-1]), Preprocessing(20)))
    evaluation_transform(picture, Preprocessing(40)).zero_()
    assert np.array_equal(picture, before)


def test_a_picture_that_is_lent_read_only_is_taken_without_a_warning():
    picture = noise(40, 50)
    lent = picture.copy()
    lent.flags.writeable = False
    for preprocessing in (Preprocessing(32), Preprocessing(40)):
        expected = evaluation_transform(picture, preprocessing)
        assert torch.equal(evaluation_transform(lent, preprocessing), expected)
