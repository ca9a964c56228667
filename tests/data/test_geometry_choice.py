"""The input geometries that suit images of given shapes."""

import numpy as np
import pandas as pd
import pytest

from decant.data.geometry import SQUARE, InputGeometry
from decant.data.geometry_choice import candidates, described, fit_to, shapes_of

VIT = ["teachers.vit (vit_base_patch16_224)"]


def images(median_aspect, spread=0.0, n=400):
    """Rows whose logarithmic aspect ratio has this median and interquartile range."""
    aspect = median_aspect * np.exp(np.linspace(-spread, spread, n))
    return shapes_of(pd.DataFrame({"width": np.rint(1000 * aspect), "height": 1000}))


def test_median_and_spread_are_those_of_the_logarithm():
    shapes = images(1.87, 0.35)
    assert shapes.aspect == pytest.approx(1.87, abs=0.01) and shapes.spread == pytest.approx(0.35, abs=0.01)
    assert shapes.kept(1) == pytest.approx(1 / 1.87, abs=0.01)
    assert images(0.5).kept(1) == pytest.approx(0.5)
    assert shapes.quartiles == pytest.approx((1.87 * np.exp(-0.175), 1.87 * np.exp(0.175)), rel=0.01)
    assert all(text in str(shapes) for text in ("1.87", "1.57", "2.23"))


@pytest.mark.parametrize("aspect", [1.0, 1.08, 0.93])
def test_square_images_are_cropped_as_they_always_were(aspect):
    assert candidates(images(aspect), []) == candidates(images(aspect), VIT) == [SQUARE]


@pytest.mark.parametrize("aspect", [1.5, 0.6, 2.2])
def test_images_of_one_shape_are_compared_as_squares_rectangles_and_crops(aspect):
    wide = InputGeometry("stretch", aspect)
    assert candidates(images(aspect, 0.1), []) == [InputGeometry("stretch"), wide, SQUARE]


@pytest.mark.parametrize(("aspect", "spread"), [(1.5, 0.1), (1.87, 0.35)])
def test_a_network_for_squares_rules_out_the_rectangle(aspect, spread):
    assert candidates(images(aspect, spread), VIT) == [InputGeometry("stretch"), SQUARE]


def test_images_of_all_shapes_have_no_rectangle():
    assert candidates(images(2.0, 1.0), []) == [InputGeometry("stretch"), SQUARE]


def test_as_many_wide_as_high_images_have_no_rectangle():
    aspect = np.repeat([1.3, 1 / 1.3], 200)
    shapes = shapes_of(pd.DataFrame({"width": 1000 * aspect, "height": 1000}))
    assert candidates(shapes, []) == [InputGeometry("stretch"), SQUARE]


def test_inputs_of_the_images_own_shape_crop_and_others_stretch():
    assert fit_to(images(1.5, 0.1), 1.5) == InputGeometry("crop", 1.5)
    assert fit_to(images(1.5, 0.1), 1.0) == InputGeometry("stretch")


def test_a_geometry_is_described_with_its_fit_and_shape():
    assert described(SQUARE).startswith("crop") and "square" in described(SQUARE)
    assert "1.87" in described(InputGeometry("stretch", 1.87))
