"""The evaluation transform, compared with Pillow and torchvision."""

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


def by_pillow(image, preprocessing):
    """Resize in Pillow, crop by hand: float64 [3, S, S] in [0, 255]."""
    size = preprocessing.input_px
    height, width = preprocessing.resized_shape(*image.shape[:2])
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)
    top, left = (height - size) // 2, (width - size) // 2
    return resized[top : top + size, left : left + size].transpose(2, 0, 1)


def largest_difference(image, preprocessing):
    """Largest absolute difference from Pillow, grey levels."""
    ours = evaluation_transform(image, preprocessing).numpy().astype(np.float64) * 255
    assert ours.shape == (3, preprocessing.input_px, preprocessing.input_px)
    return np.abs(ours - by_pillow(image, preprocessing)).max()


@given(sides, sides, st.integers(1, 600))
def test_the_shorter_side_is_resize_px_and_the_aspect_ratio_is_kept(height, width, resize_px):
    shape = Preprocessing(resize_px).resized_shape(height, width)
    assert min(shape) == resize_px and all(type(side) is int for side in shape)
    exact = max(height, width) * resize_px / min(height, width)
    assert abs(max(shape) - exact) <= 0.5
    assert (shape[0] > shape[1]) <= (height > width)


@given(sides, sides, st.integers(1, 600))
def test_rotating_an_image_rotates_its_resized_shape(height, width, resize_px):
    preprocessing = Preprocessing(resize_px)
    assert preprocessing.resized_shape(width, height) == preprocessing.resized_shape(height, width)[::-1]


@given(sides, sides)
def test_an_image_of_the_right_size_is_not_resized(height, width):
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
    assert largest_difference(noise(*shape), Preprocessing(input_px, crop_ratio)) <= 1.01


@settings(max_examples=40)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(2, 64), st.floats(0.5, 1), st.integers(0, 99))
def test_any_image_agrees_with_pillow_within_a_grey_level(height, width, input_px, crop_ratio, seed):
    assert largest_difference(noise(height, width, seed), Preprocessing(input_px, crop_ratio)) <= 1.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 57), (57, 1), (2, 301), (300, 1)])
def test_images_that_are_one_pixel_thin_agree_with_pillow(shape):
    assert largest_difference(noise(*shape), Preprocessing(24)) <= 1.01


def test_it_agrees_with_torchvision_in_float():
    image = noise(90, 135)  # resized to 60 x 40: torchvision truncates a fractional longer side, we round it
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    expected = vision.center_crop(vision.resize(tensor, [40], antialias=True), [40, 40])
    assert (evaluation_transform(image, Preprocessing(40)) - expected).abs().max() < 1e-5


def test_an_image_of_the_input_size_is_unchanged():
    image = noise(32, 32)
    ours = evaluation_transform(image, Preprocessing(32))
    assert ours.dtype == torch.float32
    assert torch.equal(ours, torch.from_numpy(image).permute(2, 0, 1) / 255)


def test_the_crop_is_central_and_an_odd_margin_is_larger_right_and_below():
    image = noise(33, 40)
    wide = evaluation_transform(image, Preprocessing(33))
    assert torch.equal(wide, torch.from_numpy(image[:, 3:36]).permute(2, 0, 1) / 255)
    tall = evaluation_transform(image.transpose(1, 0, 2), Preprocessing(33))
    assert torch.equal(tall, wide.transpose(1, 2))


def test_a_preprocessing_is_unchanged_after_json() -> None:
    preprocessing = Preprocessing(160, 0.9)
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


@pytest.mark.parametrize(("input_px", "crop_ratio", "resize_px"), [(224, 0.875, 256), (96, 1.0, 96), (160, 0.9, 178)])
def test_resize_px_is_input_px_divided_by_the_crop_ratio(input_px, crop_ratio, resize_px):
    assert Preprocessing(input_px, crop_ratio).resize_px == resize_px


def test_a_smaller_crop_ratio_crops_a_smaller_centre():
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[25:75, 25:75] = 255
    assert evaluation_transform(image, Preprocessing(50, 0.5)).min() == 1
    assert evaluation_transform(image, Preprocessing(50, 1.0)).min() == 0


def test_channels_are_red_green_blue():
    image = np.zeros((50, 70, 3), dtype=np.uint8)
    image[...] = (255, 51, 0)
    channels = evaluation_transform(image, Preprocessing(16))
    assert torch.allclose(channels, torch.tensor([1.0, 0.2, 0.0]).view(3, 1, 1).expand(3, 16, 16), atol=1e-6)


@pytest.mark.parametrize("shape", [(97, 61), (7, 300), (500, 13)])
def test_the_result_of_black_and_white_images_is_within_0_and_1(shape):
    image = np.where(noise(*shape) > 127, 255, 0).astype(np.uint8)
    ours = evaluation_transform(image, Preprocessing(40))
    assert ours.min() >= 0 and ours.max() <= 1


def test_stripes_that_are_too_fine_become_their_mean():
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    image[:, ::2] = 255
    inside = evaluation_transform(image, Preprocessing(32))[:, :, 2:-2]
    assert (inside - 0.5).abs().max() < 0.02


def test_an_array_with_negative_strides_is_read_correctly_and_never_changed():
    image = noise(40, 60)
    before = image.copy()
    mirrored = evaluation_transform(image[:, ::-1], Preprocessing(20))
    assert torch.equal(mirrored, evaluation_transform(np.ascontiguousarray(image[:, ::-1]), Preprocessing(20)))
    evaluation_transform(image, Preprocessing(40)).zero_()
    assert np.array_equal(image, before)


def test_a_read_only_array_causes_no_warning():
    image = noise(40, 50)
    read_only = image.copy()
    read_only.flags.writeable = False
    for preprocessing in (Preprocessing(32), Preprocessing(40)):
        expected = evaluation_transform(image, preprocessing)
        assert torch.equal(evaluation_transform(read_only, preprocessing), expected)
