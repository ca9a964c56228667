"""Flat-coloured solids in metres, which `painter` draws.

Axes: x along the vehicle (front is +x), y to its left, z up; the ground is z = 0. A drawing is a list of
`Part`s (roughly convex, each with an axis-aligned box by which it is sorted). A part is a list of `Item`s that are
painted in order, so that a window is painted after its wall.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[float, float, float]  # red, green, blue in [0, 1]


class Kind(IntEnum):
    """How an item is painted."""

    SOLID = 0  # polygon, shaded, visible from outside only
    GLOW = 1  # polygon, seen from outside only, not shaded
    STROKE = 2  # polyline of a given radius (tubes, poles, limbs)
    BALL = 3  # sphere


@dataclass(frozen=True, slots=True)
class Item:
    """points: float64 [n, 3] in metres. outward: any vector that points to the visible side of a polygon."""

    kind: Kind
    points: Floats
    colour: Colour
    outward: tuple[float, float, float] | Floats = (0.0, 0.0, 0.0)
    radius_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """Items painted in order; low, high: float64 [3], corners of their box, by which parts are sorted."""

    items: list[Item]
    low: Floats
    high: Floats


def part(items: list[Item], low: Sequence[float] | None = None, high: Sequence[float] | None = None) -> Part:
    """Return a part; its box is that of its points unless given."""
    points = np.concatenate([item.points for item in items])
    reach = max(item.radius_m for item in items)
    return Part(
        items,
        points.min(axis=0) - reach if low is None else np.asarray(low, dtype=np.float64),
        points.max(axis=0) + reach if high is None else np.asarray(high, dtype=np.float64),
    )


def circle(x: float, z: float, radius: float, sides: int = 22) -> Floats:
    """Corners [sides, 2] of a regular polygon around (x, z) in a plane, drawn as a circle."""
    corners: Floats = _unit_circle(sides) * radius + np.array([x, z])
    return corners


@lru_cache
def _unit_circle(sides: int) -> Floats:
    angles = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def rectangle(x0: float, x1: float, z0: float, z1: float) -> list[tuple[float, float]]:
    """The four corners of a rectangle in a plane."""
    return [(x0, z0), (x1, z0), (x1, z1), (x0, z1)]


def rounded(profile: Sequence[tuple[float, float]], radius: float, steps: int = 3) -> Floats:
    """Return a polygon [n, 2] whose corners are replaced by quadratic curves that start `radius` metres before them."""
    corners = np.asarray(profile, dtype=np.float64)
    before, after = np.roll(corners, 1, axis=0) - corners, np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(before, axis=1, keepdims=True), np.linalg.norm(after, axis=1, keepdims=True)
    start = corners + before * np.minimum(radius / lengths[0], 0.45)
    end = corners + after * np.minimum(radius / lengths[1], 0.45)
    t = np.linspace(0, 1, steps + 1)[None, :, None]
    curve = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * corners[:, None] + t**2 * end[:, None]
    smooth: Floats = curve.reshape(-1, 2)
    return smooth


# which of x, y, z are the two coordinates of a profile and its depth, by the axis of the depth
_AXES = {"y": (0, 2, 1), "x": (1, 2, 0), "z": (0, 1, 2)}


def _lift(plane: Floats, depth: float, axis: str) -> Floats:
    points = np.empty((len(plane), 3))
    first, second, third = _AXES[axis]
    points[:, first], points[:, second], points[:, third] = plane[:, 0], plane[:, 1], depth
    return points


def prism(
    profile: Floats | Sequence[tuple[float, float]], start: float, end: float, colour: Colour,
    bevel: float = 0.0, axis: str = "y",
) -> list[Item]:  # fmt: skip
    """A profile swept along an axis from start to end; both rims are bevelled by `bevel` metres."""
    plane = np.asarray(profile, dtype=np.float64)
    middle = (plane.min(axis=0) + plane.max(axis=0)) / 2
    half = np.maximum((plane.max(axis=0) - plane.min(axis=0)) / 2, 1e-6)
    inner = middle + (plane - middle) * (1 - np.minimum(bevel / half, 0.5))
    if bevel:
        rings = [(inner, start), (plane, start + bevel), (plane, end - bevel), (inner, end)]
    else:
        rings = [(plane, start), (plane, end)]
    lifted = [_lift(outline, depth, axis) for outline, depth in rings]
    centre = _lift(middle[None], (start + end) / 2, axis)[0]
    items = []
    for ring, following in pairwise(lifted):
        quads = np.empty((len(ring), 4, 3))
        quads[:, 0], quads[:-1, 1], quads[-1, 1] = ring, ring[1:], ring[0]
        quads[:, 3], quads[:-1, 2], quads[-1, 2] = following, following[1:], following[0]
        outwards = (quads[:, 0] + quads[:, 2]) / 2 - centre
        items += [Item(Kind.SOLID, quad, colour, outward) for quad, outward in zip(quads, outwards, strict=True)]
    for ring in (lifted[0], lifted[-1]):
        items.append(Item(Kind.SOLID, ring, colour, ring.mean(axis=0) - centre))
    return items


def box(low: Sequence[float], high: Sequence[float], colour: Colour, bevel: float = 0.0) -> list[Item]:
    """An axis-aligned box."""
    corners = rectangle(low[0], high[0], low[2], high[2])
    return prism(corners, low[1], high[1], colour, bevel)


def loft(bottom: Floats, top: Floats, colour: Colour) -> list[Item]:
    """A frustum between two rings [n, 3]: its sides in order, then its top."""
    centre = (bottom.mean(axis=0) + top.mean(axis=0)) / 2
    quads = np.stack([bottom, np.roll(bottom, -1, axis=0), np.roll(top, -1, axis=0), top], axis=1)
    return [Item(Kind.SOLID, quad, colour, quad.mean(axis=0) - centre) for quad in quads] + [
        Item(Kind.SOLID, top, colour, (0.0, 0.0, 1.0))
    ]


def plate(
    outline: Floats | Sequence[tuple[float, float]], depth: float, colour: Colour,
    outward: float, axis: str = "y", kind: Kind = Kind.SOLID,
) -> Item:  # fmt: skip
    """A flat polygon at `depth` along an axis; the sign of `outward` is the direction from which it is visible."""
    direction = np.zeros(3)
    direction[_AXES[axis][2]] = outward
    return Item(kind, _lift(np.asarray(outline, dtype=np.float64), depth, axis), colour, direction)


def inset(
    quad: Floats, across: tuple[float, float], up: tuple[float, float], colour: Colour, outward: Floats,
    lean: float = 0.0, kind: Kind = Kind.SOLID,
) -> Item:  # fmt: skip
    """A window in a quad [4, 3] (bottom left, bottom right, top right, top left).

    across, up: the window's limits, as fractions of the quad's sides. lean: shift of its upper edge, for reflections.
    """
    u = np.array([across[0], across[1], across[1] + lean, across[0] + lean])[:, None]
    v = np.array([up[0], up[0], up[1], up[1]])[:, None]
    low = quad[0] * (1 - u) + quad[1] * u
    high = quad[3] * (1 - u) + quad[2] * u
    return Item(kind, low * (1 - v) + high * v, colour, outward)


def stroke(points: Sequence[Sequence[float]] | Floats, radius_m: float, colour: Colour) -> Item:
    """A tube along a polyline."""
    return Item(Kind.STROKE, np.asarray(points, dtype=np.float64), colour, radius_m=radius_m)


def ball(centre: Sequence[float], radius_m: float, colour: Colour) -> Item:
    """A sphere."""
    return Item(Kind.BALL, np.asarray(centre, dtype=np.float64)[None], colour, radius_m=radius_m)


def all_points(parts: list[Part]) -> Floats:
    """All points of the parts, float64 [n, 3]."""
    return np.concatenate([item.points for p in parts for item in p.items])
