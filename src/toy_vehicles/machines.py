"""Tractors and excavators."""

import numpy as np

from toy_vehicles.fittings import (
    DARK,
    GLASS,
    LAMP,
    STEEL,
    pane,
    pick,
    some_paint,
    toned,
    wheel_face,
)
from toy_vehicles.solids import (
    Colour,
    Item,
    Kind,
    Part,
    ball,
    box,
    circle,
    loft,
    part,
    plate,
    prism,
    rectangle,
    rounded,
    stroke,
)

FARM: tuple[Colour, ...] = (
    (0.2, 0.5, 0.2),
    (0.78, 0.15, 0.12),
    (0.13, 0.32, 0.65),
    (0.9, 0.5, 0.1),
    (0.3, 0.33, 0.35),
)
SITE: tuple[Colour, ...] = (
    (0.95, 0.72, 0.12),
    (0.92, 0.5, 0.1),
    (0.86, 0.86, 0.84),
    (0.3, 0.55, 0.3),
    (0.75, 0.2, 0.15),
)


def tractor(rng: np.random.Generator, lit: bool) -> list[Part]:
    """Large rear wheels, small front wheels, a long hood, mostly a cab with windows, sometimes a shovel."""
    paint = pick(rng, FARM) if rng.random() < 0.75 else some_paint(rng)
    rim = (0.93, 0.8, 0.25) if rng.random() < 0.5 else pick(rng, ((0.85, 0.85, 0.83), (0.75, 0.2, 0.15)))
    big, small = float(rng.uniform(0.8, 0.98)), float(rng.uniform(0.42, 0.62))
    rear, front = -0.9, float(rng.uniform(1.1, 1.45))
    hood_top = float(rng.uniform(1.45, 1.7))
    hood = rounded(
        [
            (-0.2, 0.75),
            (front + 0.55, 0.7),
            (front + 0.6, hood_top - 0.2),
            (front + 0.3, hood_top),
            (-0.2, hood_top + 0.05),
        ],
        0.14,
    )
    items = prism(hood, -0.36, 0.36, paint, 0.1)
    for side in (-1.0, 1.0):
        vent = rectangle(0.5, front + 0.2, 1.0, hood_top - 0.25)
        items.append(plate(vent, side * 0.362, toned(paint, 0.55), side))
        items.append(plate(circle(side * 0.2, hood_top - 0.36, 0.09, 12), front + 0.61, LAMP, 1.0, "x",
                           Kind.GLOW if lit else Kind.SOLID))  # fmt: skip
    items.append(
        plate(
            rectangle(-0.22, 0.22, 0.8, hood_top - 0.5),
            front + 0.605,
            DARK,
            1.0,
            "x",
        )
    )
    parts = [part(items), part(box((-1.3, -0.35, 0.5), (front + 0.2, 0.35, 0.9), DARK))]
    parts += _tractor_wheels(rear, big, 0.5, 1.02, rim) + _tractor_wheels(front, small, 0.5, 0.86, rim)
    roof = float(rng.uniform(2.45, 2.8))
    if rng.random() < 0.8:
        parts += _tractor_cab(paint, roof)
    else:
        seat = box((-1.05, -0.25, 1.2), (-0.6, 0.25, 1.3), DARK, 0.03) + box(
            (-1.12, -0.25, 1.25), (-1.0, 0.25, 1.75), DARK, 0.03
        )
        bow = [stroke([(-1.15, -0.5, 1.0), (-1.15, -0.5, 2.3), (-1.15, 0.5, 2.3), (-1.15, 0.5, 1.0)], 0.045, DARK)]
        parts += [part(seat), part(bow, (-1.2, -0.3, 1.8), (-1.13, 0.3, 2.3))]
    pipe = [stroke([(0.5, -0.25, hood_top), (0.5, -0.25, hood_top + 0.75)], 0.05, DARK)]
    parts.append(part(pipe))
    if rng.random() < 0.3:
        parts += _shovel(front + 0.6, toned(paint, 0.9), float(rng.uniform(0.1, 1.1)))
    return parts


def excavator(rng: np.random.Generator, lit: bool) -> list[Part]:
    """A superstructure with a cab on tracks or wheels; boom, stick and bucket in a random pose."""
    paint = pick(rng, SITE) if rng.random() < 0.8 else some_paint(rng)
    parts: list[Part] = []
    if rng.random() < 0.75:
        for side in (-1.0, 1.0):
            start, end = sorted((side * 0.75, side * 1.3))
            belt = rounded([(-1.75, 0.42), (-1.35, 0.0), (1.35, 0.0), (1.75, 0.42), (1.35, 0.82), (-1.35, 0.82)], 0.3)
            items = prism(belt, start, end, (0.13, 0.13, 0.14), 0.05)
            y = side * 1.302
            items += [plate(circle(x, 0.41, 0.2, 14), y, toned(STEEL, 0.5), side) for x in (-1.25, -0.42, 0.42, 1.25)]
            parts.append(part(items))
    else:
        for x in (-1.2, 1.2):
            parts += _tractor_wheels(x, 0.48, 0.7, 1.2, toned(paint, 0.9))
    parts.append(part(box((-1.2, -0.75, 0.4), (1.2, 0.75, 0.98), DARK)))
    house = rounded([(-1.9, 1.0), (1.0, 1.0), (1.0, 1.5), (0.2, 1.95), (-1.6, 2.05), (-1.9, 1.8)], 0.15)
    items = prism(house, -1.2, 0.1, paint, 0.08)
    items.append(plate(rectangle(-1.6, -0.6, 1.2, 1.75), -1.202, toned(paint, 0.55), -1.0))
    rear = prism(
        rounded([(-1.9, 1.0), (-0.1, 1.0), (-0.1, 2.0), (-1.6, 2.05), (-1.9, 1.8)], 0.12),
        0.1,
        1.2,
        paint,
        0.08,
    )
    rear.append(plate(rectangle(-1.6, -0.5, 1.2, 1.75), 1.202, toned(paint, 0.55), 1.0))
    parts += [part(items), part(rear), _excavator_cab(paint)]
    parts += _arm(rng, paint)
    if lit:
        parts.append(part([ball((1.05, 0.6, 2.85), 0.1, LAMP)]))
    return parts


def _tractor_wheels(x: float, radius: float, inner: float, outer: float, rim: Colour) -> list[Part]:
    parts = []
    for side in (-1.0, 1.0):
        start, end = sorted((side * inner, side * outer))
        items = prism(circle(x, radius, radius, 20), start, end, RUBBER_LIGHT, 0.06)
        y = side * (outer + 0.004)
        for turn in np.arange(14) * (2 * np.pi / 14):
            cos, sin = np.cos(turn), np.sin(turn)
            lug = [(x + radius * (a * cos - b * sin), radius + radius * (a * sin + b * cos))
                   for a, b in ((0.78, -0.05), (0.98, 0.02), (0.98, 0.1), (0.78, 0.03))]  # fmt: skip
            items.append(plate(lug, y, (0.2, 0.2, 0.21), side))
        items += wheel_face(x, y, radius, rim)[1:]
        parts.append(part(items))
    return parts


RUBBER_LIGHT: Colour = (0.12, 0.12, 0.13)


def _tractor_cab(paint: Colour, roof: float) -> list[Part]:
    low, high = 0.62, 0.55
    bottom = np.array([(-1.35, -low, 1.1), (0.05, -low, 1.1), (0.05, low, 1.1), (-1.35, low, 1.1)])
    top = np.array([(-1.25, -high, roof), (-0.1, -high, roof), (-0.1, high, roof), (-1.25, high, roof)])
    items = loft(bottom, top, toned(DARK, 0.9))
    for wall in items[:4]:
        items += pane(wall.points, (0.08, 0.92), (0.14, 0.96), np.asarray(wall.outward))
    lid = box((-1.4, -high - 0.1, roof), (0.1, high + 0.1, roof + 0.14), paint, 0.05)
    fenders = []
    for side in (-1.0, 1.0):
        y0, y1 = sorted((side * 0.5, side * 0.95))
        outline = rounded(
            [(-1.7, 1.85), (-1.3, 1.98), (-0.5, 1.98), (-0.1, 1.7), (-0.15, 1.62), (-0.55, 1.9), (-1.3, 1.9)],
            0.05,
        )
        fenders.append(part(prism(outline, y0, y1, paint)))
    return [part(items), part(lid), *fenders]


def _shovel(x: float, paint: Colour, lift: float) -> list[Part]:
    parts = []
    for side in (-1.0, 1.0):
        arm = [
            stroke(
                [
                    (0.3, side * 0.42, 1.2),
                    (x + 0.5, side * 0.42, 0.5 + lift),
                    (x + 0.8, side * 0.42, 0.25 + lift),
                ],
                0.06,
                paint,
            )
        ]
        y0, y1 = sorted((side * 0.37, side * 0.47))
        parts.append(part(arm, (0.3, y0, 0.3), (x + 0.8, y1, 1.3)))
    bucket = rounded(
        [(x + 0.7, 0.05 + lift), (x + 1.3, 0.1 + lift), (x + 0.95, 0.3 + lift), (x + 0.8, 0.6 + lift)], 0.06
    )
    parts.append(part(prism(bucket, -0.85, 0.85, toned(STEEL, 0.7), 0.03)))
    return parts


def _excavator_cab(paint: Colour) -> Part:
    outline = rounded([(-0.1, 1.0), (1.2, 1.0), (1.3, 1.7), (1.0, 2.8), (-0.1, 2.8)], 0.12)
    items = prism(outline, 0.22, 1.2, paint, 0.05)
    for y in (0.218, 1.202):
        window = [(0.05, 1.65), (1.15, 1.65), (0.9, 2.62), (0.05, 2.62)]
        items.append(plate(window, y, GLASS, y - 0.7))
        items.append(plate([(0.2, 1.65), (0.45, 1.65), (0.7, 2.62), (0.45, 2.62)], y, (0.4, 0.5, 0.57), y - 0.7))
    front = np.array([(1.31, 0.3, 1.7), (1.31, 1.12, 1.7), (1.02, 1.12, 2.75), (1.02, 0.3, 2.75)])
    items += pane(front, (0.03, 0.97), (0.0, 0.95), np.array([1.0, 0, 0.3]))
    back = np.array([(-0.105, 0.3, 2.05), (-0.105, 1.12, 2.05), (-0.105, 1.12, 2.7), (-0.105, 0.3, 2.7)])
    items += pane(back, (0.05, 0.95), (0.0, 1.0), np.array([-1.0, 0, 0]))
    return part(items)


def _arm(rng: np.random.Generator, paint: Colour) -> list[Part]:
    """Boom, stick and bucket as thin prisms along the plane y = -0.1 (metres); two angles define the pose."""
    rise, fold = float(rng.uniform(0.5, 1.05)), float(rng.uniform(1.6, 2.5))
    foot = np.array([0.75, 1.5])
    elbow = foot + 2.9 * np.array([np.cos(rise), np.sin(rise)])
    knee = foot + 1.5 * np.array([np.cos(rise + 0.22), np.sin(rise + 0.22)])
    tip_angle = rise - fold
    tip = elbow + 1.9 * np.array([np.cos(tip_angle), np.sin(tip_angle)])
    tip[1] = max(tip[1], 0.55)
    boom = prism(_bar([foot, knee, elbow], (0.2, 0.3, 0.16)), -0.3, -0.02, paint, 0.03)
    heel = elbow + 0.3 * (elbow - tip) / np.linalg.norm(elbow - tip)
    stick = prism(_bar([heel, elbow, tip], (0.1, 0.19, 0.1)),
                  -0.27, -0.05, toned(paint, 0.92), 0.03)  # fmt: skip
    ram = [stroke([(foot[0] + 0.5, -0.33, foot[1] + 0.1), (knee[0] + 0.1, -0.33, knee[1] - 0.1)], 0.06, STEEL)]
    scoop = np.array([(0.12, 0.1), (0.05, -0.3), (-0.25, -0.55), (-0.62, -0.5), (-0.4, -0.18), (-0.15, 0.12)])
    bucket = prism(
        rounded([(float(a), float(b)) for a, b in scoop + tip], 0.08, 2), -0.55, 0.25, toned(DARK, 1.1), 0.03
    )
    whole: list[Item] = [*bucket, *stick, *boom, *ram]
    low = np.array([foot[0] - 0.3, -0.3, 1.3])
    high = np.array([max(elbow[0], tip[0]) + 0.3, 0.2, elbow[1] + 0.3])
    return [Part(whole, low, high)]


def _bar(spine: list[np.ndarray], halves: tuple[float, ...]) -> np.ndarray:
    """A polygon [n, 2] around a polyline; `halves` are its half widths at the points."""
    points = np.stack(spine)
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * np.array(halves)[:, None]
    return np.concatenate([points + across, (points - across)[::-1]])
