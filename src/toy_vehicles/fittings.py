"""Parts that several vehicles have: paint, glass, wheels, lamps and riders."""

from collections.abc import Sequence

import numpy as np

from toy_vehicles.solids import (
    Colour,
    Floats,
    Item,
    Kind,
    Part,
    ball,
    circle,
    inset,
    part,
    plate,
    prism,
    rectangle,
    stroke,
)

PAINTS: tuple[Colour, ...] = (
    (0.93, 0.93, 0.91), (0.72, 0.75, 0.78), (0.26, 0.29, 0.33), (0.13, 0.2, 0.37), (0.12, 0.47, 0.53),
    (0.78, 0.16, 0.14), (0.9, 0.68, 0.16), (0.42, 0.5, 0.26), (0.91, 0.45, 0.13), (0.33, 0.62, 0.85),
    (0.5, 0.11, 0.19), (0.82, 0.75, 0.6), (0.17, 0.4, 0.27), (0.94, 0.86, 0.66), (0.55, 0.42, 0.62),
)  # fmt: skip
GLASS: Colour = (0.17, 0.23, 0.3)
GLINT: Colour = (0.45, 0.56, 0.64)
RUBBER: Colour = (0.09, 0.09, 0.1)
DARK: Colour = (0.16, 0.17, 0.19)
STEEL: Colour = (0.66, 0.68, 0.7)
CHROME: Colour = (0.84, 0.85, 0.86)
LAMP: Colour = (1.0, 0.96, 0.8)
TAIL: Colour = (0.85, 0.1, 0.1)
SKINS: tuple[Colour, ...] = ((0.96, 0.8, 0.67), (0.82, 0.6, 0.44), (0.55, 0.37, 0.26), (0.36, 0.24, 0.18))


def pick(rng: np.random.Generator, choices: Sequence[Colour]) -> Colour:
    """Return a random choice of the colours."""
    return choices[int(rng.integers(len(choices)))]


def some_paint(rng: np.random.Generator) -> Colour:
    """Return a random body colour: one of PAINTS with a small variation."""
    r, g, b = np.clip(np.asarray(pick(rng, PAINTS)) + rng.normal(0, 0.03, 3), 0.04, 0.97)
    return float(r), float(g), float(b)


def toned(colour: Colour, factor: float) -> Colour:
    """Return the colour darkened (factor < 1) or blended with white (factor > 1)."""
    if factor <= 1:
        return colour[0] * factor, colour[1] * factor, colour[2] * factor
    t = min(factor - 1, 1.0)
    return colour[0] + (1 - colour[0]) * t, colour[1] + (1 - colour[1]) * t, colour[2] + (1 - colour[2]) * t


def pane(quad: Floats, across: tuple[float, float], up: tuple[float, float], outward: Floats) -> list[Item]:
    """A window in a wall [4, 3] with a slanted reflection."""
    width = across[1] - across[0]
    glint_from = across[0] + 0.18 * width
    return [
        inset(quad, across, up, GLASS, outward),
        inset(quad, (glint_from, glint_from + 0.2 * width), up, GLINT, outward, lean=0.25 * width),
    ]


def side_quad(x0: float, x1: float, z0: float, z1: float, y: float) -> Floats:
    """A vertical rectangle [4, 3] along the vehicle."""
    return np.array([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)])


def front_quad(y0: float, y1: float, z0: float, z1: float, x: float, lean_x: float = 0.0) -> Floats:
    """A rectangle [4, 3] across the vehicle; its upper edge is `lean_x` metres further ahead."""
    return np.array([(x, y0, z0), (x, y1, z0), (x + lean_x, y1, z1), (x + lean_x, y0, z1)])


def wheel_face(x: float, y: float, radius: float, rim: Colour, arch_from: float | None = None) -> list[Item]:
    """The outer side of a wheel; with `arch_from` (metres), also the dark wheel arch above that height."""
    items = []
    if arch_from is not None:
        arch = circle(x, radius, radius * 1.2)
        arch[:, 1] = np.maximum(arch[:, 1], arch_from)
        items.append(plate(arch, y, (0.07, 0.07, 0.08), y))
    items.append(plate(circle(x, radius, radius), y, RUBBER, y))
    items.append(plate(circle(x, radius, radius * 0.64), y, rim, y))
    for turn in np.arange(5) * (2 * np.pi / 5) + 0.3:
        hole = circle(x + 0.38 * radius * np.cos(turn), radius + 0.38 * radius * np.sin(turn), radius * 0.13, 8)
        items.append(plate(hole, y, toned(rim, 0.4), y))
    items.append(plate(circle(x, radius, radius * 0.12, 8), y, toned(rim, 0.6), y))
    return items


def treads(xs: Sequence[float], half_width: float, radius: float, width: float, under: float) -> list[Part]:
    """Return the visible part of wheels below a body whose underside is at height `under`; drawn before the body."""
    parts = []
    for x in xs:
        for side in (-1.0, 1.0):
            start, end = sorted((side * half_width * 0.985, side * (half_width - width)))
            items = prism(circle(x, radius, radius * 0.98, 14), start, end, RUBBER)
            parts.append(part(items, (x - radius, start, 0), (x + radius, end, under)))
    return parts


def shadow_below(x0: float, x1: float, half_width: float, z: float) -> Part:
    """The dark underside, so that no background is visible between the wheels."""
    outline = rectangle(x0, x1, 0.12, z)
    items = prism(outline, -half_width * 0.8, half_width * 0.8, (0.06, 0.06, 0.07))
    return part(items, (x0, -half_width * 0.8, 0.1), (x1, half_width * 0.8, z))


def lamps(x: float, half_width: float, z: float, size: tuple[float, float], front: bool, lit: bool) -> list[Item]:
    """A pair of head lamps or tail lamps, in the plane across the vehicle at x."""
    width, height = size
    colour = LAMP if front else TAIL
    items = []
    for side in (-1.0, 1.0):
        y0, y1 = sorted((side * (half_width - 0.08), side * (half_width - 0.08 - width)))
        outline = rectangle(y0, y1, z, z + height)
        kind = Kind.GLOW if lit else Kind.SOLID
        items.append(plate(outline, x, colour, 1.0 if front else -1.0, "x", kind))
    return items


def number_plate(x: float, z: float, front: bool) -> Item:
    """A number plate."""
    outline = rectangle(-0.26, 0.26, z, z + 0.13)
    return plate(outline, x, (0.93, 0.93, 0.86), 1.0 if front else -1.0, "x")


def ring(x: float, y: float, radius: float, thickness: float, colour: Colour) -> Item:
    """A thin tyre, without rim or spokes."""
    plane = circle(x, radius, radius - thickness, 28)
    points = np.stack([plane[:, 0], np.full(len(plane), y), plane[:, 1]], axis=1)
    return stroke(np.concatenate([points, points[:2]]), thickness, colour)


def rider(
    rng: np.random.Generator, hip: tuple[float, float], hand: tuple[float, float], foot: tuple[float, float],
    helmet: bool, grip: float,
) -> list[Part]:  # fmt: skip
    """A rider; hip, hand and foot are (x, z), grip is half the width of the handlebar, all in metres."""
    shirt, trousers, skin = some_paint(rng), toned(some_paint(rng), 0.6), pick(rng, SKINS)
    lean = float(rng.uniform(0.2, 0.42))
    shoulder = (hip[0] + lean, hip[1] + 0.48)
    head = (shoulder[0] + 0.1, shoulder[1] + 0.25)
    parts = []
    for side in (-1.0, 1.0):
        lift = 0.16 if side > 0 else 0.0
        low = (foot[0], side * 0.13, foot[1] + lift)
        knee = ((hip[0] + low[0]) / 2 + 0.24, side * 0.15, (hip[1] + low[2]) / 2 + 0.12)
        leg = [stroke([(hip[0], side * 0.1, hip[1]), knee, low], 0.075, trousers)]
        leg.append(stroke([low, (low[0] + 0.15, low[1], low[2] - 0.02)], 0.05, DARK))
        elbow = ((shoulder[0] + hand[0]) / 2, side * (grip + 0.06), (shoulder[1] + hand[1]) / 2 - 0.1)
        arm = [stroke([(shoulder[0], side * 0.17, shoulder[1]), elbow, (hand[0], side * grip, hand[1])], 0.05, shirt)]
        arm.append(ball((hand[0], side * grip, hand[1]), 0.05, skin))
        y0, y1 = sorted((side * 0.08, side * 0.4))
        parts.append(part(leg, (hip[0] - 0.1, y0, 0.1), (hip[0] + 0.6, y1, hip[1])))
        parts.append(part(arm, (hip[0], y0, hip[1] + 0.05), (hand[0], y1, shoulder[1])))
    trunk = [stroke([(hip[0], 0, hip[1] + 0.04), (shoulder[0], 0, shoulder[1] - 0.03)], 0.155, shirt)]
    trunk.append(ball((head[0], 0, head[1]), 0.125, skin))
    if helmet:
        trunk.append(ball((head[0] - 0.02, 0, head[1] + 0.05), 0.135, some_paint(rng)))
    else:
        trunk.append(ball((head[0] - 0.04, 0, head[1] + 0.06), 0.11, pick(rng, ((0.15, 0.1, 0.08), (0.4, 0.26, 0.15)))))
    parts.append(part(trunk, (hip[0] - 0.1, -0.08, hip[1]), (head[0] + 0.1, 0.08, head[1] + 0.2)))
    return parts
