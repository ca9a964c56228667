"""Test-time augmentation: the names in a recipe become ttach transforms, one callable per member.

Every member shows the network the same object, so their probabilities may be averaged. Vertical flips and
quarter turns are left out on purpose: photos have a natural up and down.

ttach 0.0.3 (the last version) works with current torch, with two corrections made here. Its `Scale` and `Resize`
sample without antialiasing, so a reduced image shows aliasing that training images do not have. Its `Scale` truncates
sizes (int(100 * 1.15) = 114); this project rounds.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
import ttach
from torch import Tensor

from decant.errors import UserError, nearest

Member = Callable[[Tensor], Tensor]  # float32 [B, 3, H, W] in [0, 1] -> float32 [B, 3, H', W'] in [0, 1]
Spec = str | Mapping[str, Any]

IDENTITY = "identity"


def tta_members(transforms: Sequence[Spec], *, fixed_size: bool = False) -> dict[str, Member]:
    """The TTA members of a recipe, by name: "identity" first, the others in the recipe's order.

    transforms: each entry is a name (`hflip`, `five_crops`), a name with a number (`scale1.15`, `zoom1.2`,
    `multiply0.9`, `five_crops0.8`), several of these joined by `+` (`hflip+zoom1.2`, their product), or a mapping
    from name to number or numbers (`{scale: [0.85, 1.15]}`). fixed_size: the network accepts images of one size
    only (most ViTs); `scale`, which changes it, is then an error.

    Members map float32 images in [0, 1] to float32 images in [0, 1]. A repeated member occurs once. `multiply` clamps,
    `zoom` crops the centre of the enlarged image, `five_crops` resizes its crops back. Raises UserError for an
    unknown name or a number out of range.
    """
    members: dict[str, Member] = {IDENTITY: lambda images: images}
    for spec in transforms:
        for chain in _chains(spec):
            if fixed_size and any(name == "scale" for name, _ in chain):
                raise UserError(
                    f"TTA {spec!r}: this network accepts images of one size only, and `scale` changes the size; "
                    "use `zoom`, which enlarges and crops to the old size."
                )
            members.update(_product([_FAMILIES[name](number) for name, number in chain]))
    return members


# ---- families: number -> {member name: transform}; empty if the number changes nothing ----


class _AntialiasedScale(ttach.Scale):
    def apply_aug_image(self, image: Tensor, scale: float = 1, **kwargs: Any) -> Tensor:
        return _resized(image, round(image.shape[-2] * scale), round(image.shape[-1] * scale))


def _hflip(_: float | None) -> dict[str, Member]:
    flip = ttach.HorizontalFlip()
    return {"hflip": lambda images: flip.apply_aug_image(images, apply=True)}


def _scale(number: float | None) -> dict[str, Member]:
    factor = _number("scale", number, 0.25, 4.0)
    scale = _AntialiasedScale([factor])
    return {} if factor == 1 else {f"scale{factor:g}": lambda images: scale.apply_aug_image(images, scale=factor)}


def _zoom(number: float | None) -> dict[str, Member]:
    factor = _number("zoom", number, 1.0, 4.0)
    scale = _AntialiasedScale([factor])

    def zoomed(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return ttach.functional.center_crop(scale.apply_aug_image(images, scale=factor), height, width)

    return {} if factor == 1 else {f"zoom{factor:g}": zoomed}


def _five_crops(number: float | None) -> dict[str, Member]:
    side = _number("five_crops", 0.875 if number is None else number, 0.25, 0.99)
    # The order of ttach.FiveCrops.
    corners = ("left_top", "left_bottom", "right_bottom", "right_top", "centre")

    def member(corner: int) -> Member:
        def cropped(images: Tensor) -> Tensor:
            height, width = images.shape[-2:]
            crops = ttach.FiveCrops(round(height * side), round(width * side))
            return _resized(crops.apply_aug_image(images, crop_fn=crops.params[corner]), height, width)

        return cropped

    return {f"crop{side:g}_{name}": member(corner) for corner, name in enumerate(corners)}


def _multiply(number: float | None) -> dict[str, Member]:
    factor = _number("multiply", number, 0.25, 4.0)
    multiply = ttach.Multiply([factor])
    member = {f"multiply{factor:g}": lambda images: multiply.apply_aug_image(images, factor=factor).clamp(0, 1)}
    return {} if factor == 1 else member


_FAMILIES: dict[str, Callable[[float | None], dict[str, Member]]] = {
    "hflip": _hflip,
    "five_crops": _five_crops,
    "scale": _scale,
    "zoom": _zoom,
    "multiply": _multiply,
}
_TAKES_NO_NUMBER = ("hflip",)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    resized = F.interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp(0, 1)


def _product(families: Sequence[Mapping[str, Member]]) -> dict[str, Member]:
    """One member for every combination, applied left to right; empty families are left out."""
    combinations = itertools.product(*(family.items() for family in families if family))
    return {
        "+".join(name for name, _ in steps): _in_turn([member for _, member in steps])
        for steps in combinations
        if steps
    }


def _in_turn(members: Sequence[Member]) -> Member:
    chain = ttach.base.Chain(list(members))
    return lambda images: chain(images)


# ---- reading a recipe ----


def _chains(spec: Spec) -> list[list[tuple[str, float | None]]]:
    """One entry of a recipe as chains of (family, number)."""
    if spec == IDENTITY:
        return []
    if isinstance(spec, str):
        return [[_parse(part.strip()) for part in spec.split("+")]]
    if isinstance(spec, Mapping):
        chains = []
        for name, numbers in spec.items():
            family = _known(str(name))
            for number in numbers if isinstance(numbers, (list, tuple)) else [numbers]:
                chains.append([_with_number(family, number)])
        return chains
    raise UserError(f"TTA entry {spec!r} is neither a name nor a mapping such as {{scale: [0.85, 1.15]}}.")


def _parse(text: str) -> tuple[str, float | None]:
    match = re.fullmatch(r"([A-Za-z_]+)(\d+(?:\.\d+)?)?", text)
    if match is None:
        return _known(text), None  # always raises: every known name matches the pattern
    name, number = match.groups()
    return _with_number(_known(name), None if number is None else float(number))


def _known(name: str) -> str:
    if name in _FAMILIES:
        return name
    # ttach's class names (HorizontalFlip, FiveCrops) lead to the names used here.
    suggested = {"horizontalflip": "hflip", "fivecrops": "five_crops"}.get(name.lower(), name.lower())
    raise UserError(f"unknown TTA transform {name!r}; {nearest(suggested, list(_FAMILIES))}")


def _with_number(name: str, number: Any) -> tuple[str, float | None]:
    if name in _TAKES_NO_NUMBER and number is not None:
        raise UserError(f"TTA transform {name!r} takes no number (given: {number!r}).")
    return name, number


def _number(name: str, number: Any, low: float, high: float) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise UserError(
            f"TTA transform {name!r} needs a number, for example {name}{(low + high) / 2:g}; got {number!r}."
        )
    if not low <= number <= high:
        raise UserError(f"TTA transform {name!r}: {number:g} is outside {low:g} to {high:g}.")
    return float(f"{number:g}")  # the number in the member's name
