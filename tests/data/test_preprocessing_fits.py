"""The evaluation transform that stretches, pads, and fills rectangles, compared with Pillow and NumPy."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from decant.data.evaluation_transform import evaluation_transform
from decant.data.geometry import InputGeometry, rectangle
from decant.data.preprocessing import FILL, Preprocessing, height_width, size_text
from decant.export.verification.pillow_reference import prepare

ODD = [(1, 1), (1, 300), (300, 1), (2, 3), (97, 61), (48, 88), (500, 7), (333, 500), (1, 5000), (5000, 1)]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def resized_by_pillow(image, height, width):
    """float32 [3, height, width] in [0, 1]."""
    channels = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
    resized = [np.asarray(c.resize((width, height), Image.Resampling.BILINEAR)) for c in channels]
    return torch.from_numpy(np.stack(resized) / 255)


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("input_px", [48, (48, 88)])
def test_stretch_is_pillows_resize_of_the_whole_image(shape, input_px):
    preprocessing = Preprocessing(input_px, 1.0, "stretch")
    ours = evaluation_transform(noise(*shape), preprocessing)
    assert (ours - resized_by_pillow(noise(*shape), *preprocessing.shape)).abs().max() * 255 < 0.1


def test_stretch_with_a_crop_ratio_shows_the_centre_of_a_larger_image():
    ours = evaluation_transform(noise(90, 200), Preprocessing((48, 88), 0.8, "stretch"))
    larger = resized_by_pillow(noise(90, 200), 60, 110)
    assert (ours - larger[:, 6:54, 11:99]).abs().max() * 255 < 0.1


def test_pad_shows_the_whole_image_in_the_middle_of_grey():
    ours = evaluation_transform(noise(50, 200), Preprocessing(64, 1.0, "pad"))
    assert (ours[:, 24:40] - resized_by_pillow(noise(50, 200), 16, 64)).abs().max() * 255 < 0.1
    assert (torch.cat([ours[:, :24], ours[:, 40:]], dim=1) == FILL / 255).all()


def test_a_rectangle_crops_only_the_side_that_is_too_long():
    image = noise(96, 200)
    ours = evaluation_transform(image, Preprocessing((96, 176)))
    assert torch.equal(ours, torch.from_numpy(image[:, 12:188]).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_every_fit_gives_the_same_for_an_image_of_the_inputs_shape(fit):
    ours = evaluation_transform(noise(96, 176), Preprocessing((48, 88), 1.0, fit))
    assert torch.equal(ours, evaluation_transform(noise(96, 176), Preprocessing((48, 88))))


sides = st.integers(1, 200)


@settings(max_examples=60)
@given(
    sides, sides, st.integers(2, 64), st.integers(2, 64), st.floats(0.5, 1), st.sampled_from(["crop", "stretch", "pad"])
)
def test_any_image_agrees_with_the_independent_reference(height, width, down, across, crop_ratio, fit):
    preprocessing = Preprocessing((down, across), crop_ratio, fit)
    ours = evaluation_transform(noise(height, width), preprocessing).numpy()
    assert ours.shape == (3, down, across)
    assert 255 * np.abs(ours - prepare(noise(height, width), preprocessing)).max() < 0.5


@given(sides, sides, st.integers(2, 64), st.integers(2, 64))
def test_crop_covers_the_input_and_pad_lies_within_it(height, width, down, across):
    covering = Preprocessing((down, across)).resized_shape(height, width)
    inside = Preprocessing((down, across), 1.0, "pad").resized_shape(height, width)
    assert covering[0] >= down and covering[1] >= across and (covering[0] == down or covering[1] == across)
    assert 1 <= inside[0] <= down and 1 <= inside[1] <= across and (inside[0] == down or inside[1] == across)


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 40_000)])
def test_a_thin_image_takes_little_memory(shape):
    """Resized as a whole to a shorter side of 128 px, 1 x 20,000 px take 4 GB; torch's memory is not traced."""
    small = Preprocessing(128)
    image = noise(*shape)
    tracemalloc.start()
    resized = evaluation_transform(image, small).numpy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert 255 * np.abs(resized - prepare(image, small)).max() < 0.1


@pytest.mark.parametrize(
    "preprocessing", [Preprocessing((96, 176)), Preprocessing(64, 0.9, "stretch"), Preprocessing((64, 32), 1.0, "pad")]
)
def test_fit_and_rectangle_are_unchanged_after_json(preprocessing):
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_values_without_a_fit_crop_and_equal_sides_are_one_side():
    assert Preprocessing.from_dict({"input_px": 64, "crop_ratio": 0.9}) == Preprocessing(64, 0.9, "crop")
    assert Preprocessing((64, 64)) == Preprocessing(64)


@pytest.mark.parametrize("values", [{"fit": "squash"}, {"fit": ["crop"]}, {"input_px": [64]}, {"input_px": [64, 0]}])
def test_impossible_values_are_refused(values):
    with pytest.raises(ValueError, match="preprocessing"):
        Preprocessing.from_dict({"input_px": 64, "crop_ratio": 1.0} | values)


@pytest.mark.parametrize(
    ("side", "aspect", "expected"),
    [(128, 1.87, (96, 176)), (128, 1.0, 128), (112, 0.5, (160, 80)), (96, 1.85, (64, 128)), (64, 1.5, (56, 80))],
)
def test_a_rectangle_has_about_the_pixels_of_the_square(side, aspect, expected):
    assert rectangle(side, aspect) == expected


def test_a_square_geometry_changes_no_input_and_a_pair_stays():
    assert InputGeometry().input_px(65) == 65
    assert InputGeometry("stretch", 1.8).input_px((48, 96)) == (48, 96)
    assert [size_text(px) for px in (128, (96, 176))] == ["128", "96x176"]


@pytest.mark.parametrize("side", [32, 48, 64])
@pytest.mark.parametrize("aspect", [0.5, 1.5, 1.87, 3.0])
def test_no_side_of_a_rectangle_is_too_short_for_five_halvings(side: int, aspect: float) -> None:
    assert min(height_width(rectangle(side, aspect))) >= 32
