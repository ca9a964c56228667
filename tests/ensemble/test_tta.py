"""Test-time augmentation: names, order and pixels of the members; Pillow and NumPy are the oracles."""

import numpy as np
import pytest
import torch
from PIL import Image

from decant.ensemble.tta import tta_members
from decant.errors import UserError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def test_identity_is_always_the_first_member_and_changes_nothing(images):
    for transforms in ([], ["hflip"], ["hflip", "identity"]):
        members = tta_members(transforms)
        assert next(iter(members)) == "identity"
        assert torch.equal(members["identity"](images), images)


def test_members_are_in_the_recipes_order_and_named_after_their_transform():
    members = tta_members(["hflip", {"scale": [0.85, 1, 1.15]}, "zoom1.2", "multiply0.9"])
    assert list(members) == ["identity", "hflip", "scale0.85", "scale1.15", "zoom1.2", "multiply0.9"]


def test_a_repeated_member_occurs_once():
    assert list(tta_members(["scale1.15", {"scale": 1.15}, "hflip", "hflip"])) == [
        "identity",
        "scale1.15",
        "hflip",
    ]


def test_hflip_swaps_left_and_right_only(images):
    assert np.array_equal(tta_members(["hflip"])["hflip"](images).numpy(), images.numpy()[..., ::-1])


@pytest.mark.parametrize(("factor", "side"), [(0.85, 34), (1.15, 46), (1.5, 60)])
def test_scale_equals_pillows_antialiased_resize(images, factor, side):
    scaled = tta_members([{"scale": factor}])[f"scale{factor:g}"](images)
    assert scaled.shape == (2, 3, side, side)
    # Pillow's bilinear filter is antialiased and computes in float for mode F: an independent implementation.
    plane = Image.fromarray(images[1, 2].numpy()).resize((side, side), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(scaled[1, 2].numpy(), np.asarray(plane), atol=1e-5)


def test_sizes_are_rounded_and_not_truncated():
    assert tta_members(["scale1.15"])["scale1.15"](torch.zeros(1, 3, 100, 100)).shape == (1, 3, 115, 115)


def test_zoom_crops_the_centre_to_the_same_size():
    images = torch.zeros(1, 3, 40, 40)
    images[:, :, 10:30, 10:30] = 1  # fills the image at twice the size
    zoomed = tta_members(["zoom2"])["zoom2"](images)
    assert zoomed.shape == images.shape
    assert zoomed[:, :, 1:-1, 1:-1].min() > 0.99


def test_five_crops_are_the_four_corners_and_the_centre_at_the_same_size():
    images = torch.zeros(1, 3, 40, 40)
    quarters = {"left_top": (0, 0), "left_bottom": (20, 0), "right_bottom": (20, 20), "right_top": (0, 20)}
    for value, (top, left) in enumerate(quarters.values(), start=1):
        images[:, :, top : top + 20, left : left + 20] = value / 10
    members = tta_members([{"five_crops": 0.5}])
    assert list(members) == ["identity", *(f"crop0.5_{name}" for name in [*quarters, "centre"])]
    for value, name in enumerate(quarters, start=1):
        crop = members[f"crop0.5_{name}"](images)
        torch.testing.assert_close(crop, torch.full_like(images, value / 10))
    centre = members["crop0.5_centre"](images)
    assert centre.shape == images.shape
    torch.testing.assert_close(centre[0, 0, 0, 0], torch.tensor(0.1))
    torch.testing.assert_close(centre[0, 0, -1, -1], torch.tensor(0.3))


def test_multiply_clamps_to_1(images):
    brighter = tta_members(["multiply1.5"])["multiply1.5"](images)
    np.testing.assert_allclose(brighter.numpy(), np.minimum(images.numpy() * 1.5, 1), rtol=1e-6)


def test_joined_names_are_applied_left_to_right(images):
    members = tta_members(["hflip+zoom1.5", "zoom1.5", "hflip+five_crops0.5"])
    mirrored = tta_members(["zoom1.5"])["zoom1.5"](images.flip(3))
    torch.testing.assert_close(members["hflip+zoom1.5"](images), mirrored)
    assert [name for name in members if name.startswith("hflip+crop")] == [
        f"hflip+crop0.5_{name}" for name in ("left_top", "left_bottom", "right_bottom", "right_top", "centre")
    ]


def test_every_member_keeps_batch_size_channels_dtype_and_range(images):
    transforms = [
        "hflip",
        "five_crops",
        {"scale": [0.6, 1.4]},
        "zoom1.3",
        {"multiply": [0.8, 1.2]},
        "hflip+scale1.2",
    ]
    for name, member in tta_members(transforms).items():
        out = member(images)
        assert out.shape[:2] == (2, 3) and out.dtype == torch.float32, name
        assert out.min() >= 0 and out.max() <= 1, name
        torch.testing.assert_close(member(images[1:]), out[1:], msg=name)  # rows do not depend on each other


def test_scale_is_refused_for_a_network_of_fixed_size_and_zoom_is_suggested():
    with pytest.raises(UserError, match="zoom"):
        tta_members(["hflip+scale1.15"], fixed_size=True)
    for name, member in tta_members(["hflip", "zoom1.3", "five_crops"], fixed_size=True).items():
        assert member(torch.rand(1, 3, 33, 33)).shape == (1, 3, 33, 33), name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hflp", "hflip"),
        ("HorizontalFlip", "hflip"),
        ("FiveCrops", "five_crops"),
        ({"scal": 1.1}, "mean scale"),
        ("vflip", "mean hflip"),
        ("", "known: hflip"),
        ("scale-1", "mean scale"),
        ("scale", "needs a number"),
        ({"scale": True}, "needs a number"),
        ({"scale": [1.1, "big"]}, "needs a number"),
        ({"multiply": float("nan")}, "needs a number"),
        ("scale9", "outside"),
        ("zoom0.5", "outside"),
        ("hflip2", "takes no number"),
        (3, "neither a name nor a mapping"),
    ],
)
def test_the_error_for_a_wrong_entry_contains_the_correction(spec, message):
    with pytest.raises(UserError, match=message):
        tta_members([spec])
