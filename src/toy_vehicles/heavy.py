"""Buses, trams and trucks."""

import numpy as np

from toy_vehicles.fittings import (
    DARK,
    GLASS,
    GLINT,
    PAINTS,
    STEEL,
    front_quad,
    lamps,
    number_plate,
    pane,
    pick,
    shadow_below,
    side_quad,
    some_paint,
    toned,
    treads,
    wheel_face,
)
from toy_vehicles.solids import (
    Colour,
    Item,
    Kind,
    Part,
    box,
    circle,
    part,
    plate,
    prism,
    rectangle,
    rounded,
    stroke,
)

AMBER: Colour = (1.0, 0.72, 0.2)
FORWARD, BACKWARD = np.array([1.0, 0, 0]), np.array([-1.0, 0, 0])


def bus(rng: np.random.Generator, lit: bool) -> list[Part]:
    """City bus, coach or double-decker: a long box with visible wheels and one or two rows of windows."""
    double = rng.random() < 0.22
    length, half = float(rng.uniform(7.0, 11.0)), 1.25
    roof = 4.2 if double else float(rng.uniform(2.9, 3.4))
    under, end = 0.32, length / 2
    paint, stripe = some_paint(rng), some_paint(rng)
    lean = float(rng.uniform(0.05, 0.35))
    profile = rounded([(-end, under), (-end + 0.08, roof), (end - lean, roof), (end, 1.1), (end, under)], 0.28)
    body = prism(profile, -half, half, paint, 0.14)
    axles, radius = (-length * 0.27, length * 0.33), 0.5
    rows = [(1.35, 2.25), (2.75, 3.75)] if double else [(float(rng.uniform(1.25, 1.55)), roof - 0.5)]
    panes = int(rng.integers(5, 8))
    for side in (-1.0, 1.0):
        y = side * (half + 0.002)
        body.append(_band(-end + 0.05, end - 0.1, under + 0.05, 0.85, y, stripe))
        for low, high in rows:
            body += _window_row(-end + 0.3, end - 0.5, low, high, y, panes, 0.1)
        if side < 0:
            for x in (end - 1.5, -length * 0.02):
                body += _door(x, 1.1, 0.42, rows[0][1], y)
        for x in axles:
            body += wheel_face(x, y + side * 0.004, radius, STEEL, under)
    body += _bus_front(end, half, roof, lean, rows[-1][1] if double else roof, lit)
    if double:
        upper = front_quad(-half + 0.12, half - 0.12, 2.8, 3.8, end - lean * 0.5, -lean * 0.3)
        body += pane(upper, (0.03, 0.97), (0.0, 1.0), FORWARD)
    tail = front_quad(-half + 0.15, half - 0.15, under, roof, -end - 0.01, 0.08)
    body += pane(tail, (0.1, 0.9), (0.55, 0.84), BACKWARD)
    body += lamps(-end - 0.02, half, 0.7, (0.25, 0.3), False, lit) + [number_plate(-end - 0.02, 0.6, False)]
    parts = [shadow_below(-end + 0.4, end - 0.4, half, under)] + treads(axles, half, radius, 0.3, under)
    parts.append(part(body, (-end, -half, under), (end, half, roof)))
    if not double and rng.random() < 0.6:
        x = float(rng.uniform(-end * 0.6, end * 0.3))
        parts.append(part(box((x - 1.0, -0.7, roof), (x + 1.0, 0.7, roof + 0.22), toned(paint, 1.2), 0.08)))
    return parts


def tram(rng: np.random.Generator, lit: bool) -> list[Part]:
    """One to three coupled boxes with sloping ends, hidden wheels and a pantograph."""
    sections, half = int(rng.choice([1, 1, 2, 2, 2, 3])), 1.2
    section, roof, under = float(rng.uniform(5.2, 6.6)), float(rng.uniform(3.1, 3.5)), 0.22
    if sections == 1:
        section *= 1.5
    paint, stripe = some_paint(rng), pick(rng, PAINTS[:3]) if rng.random() < 0.5 else some_paint(rng)
    old = rng.random() < 0.3
    rake = 0.12 if old else float(rng.uniform(0.5, 1.3))
    total = sections * section
    parts = []
    for index in range(sections):
        start = -total / 2 + index * section + (0.25 if index else 0.0)
        end = -total / 2 + (index + 1) * section - (0.25 if index + 1 < sections else 0.0)
        first, last = index == 0, index + 1 == sections
        parts.append(_tram_section(start, end, first, last, rake, half, under, roof, paint, stripe, lit))
        if not last:
            parts.append(part(box((end + 0.02, -half + 0.2, 0.4), (end + 0.48, half - 0.2, roof - 0.2), DARK)))
    for x in np.linspace(-total / 2 + 1.7, total / 2 - 1.7, sections + 1):
        outline = rectangle(x - 0.9, x + 0.9, 0.05, 0.3)
        parts.append(part(prism(outline, -half + 0.15, half - 0.15, (0.08, 0.08, 0.09)),
                          (x - 0.9, -half + 0.15, 0.0), (x + 0.9, half - 0.15, 0.2)))  # fmt: skip
    x = float(rng.uniform(-0.25, 0.25)) * total
    parts.append(part(box((x - 1.3, -0.8, roof), (x + 0.2, 0.8, roof + 0.25), toned(STEEL, 0.8), 0.06)))
    arms = [
        stroke([(x + 0.9, y, roof), (x + 0.1, y, roof + 0.6), (x + 0.9, y, roof + 1.1)], 0.04, DARK)
        for y in (-0.4, 0.4)
    ]
    arms.append(stroke([(x + 0.9, -0.8, roof + 1.1), (x + 0.9, 0.8, roof + 1.1)], 0.05, DARK))
    parts.append(part(arms, (x + 0.2, -0.8, roof), (x + 1.0, 0.8, roof + 1.2)))
    return parts


def truck(rng: np.random.Generator, lit: bool) -> list[Part]:
    """A cab, and behind it a box, a tank, a tipper or a flat bed with a load."""
    length, half = float(rng.uniform(6.5, 9.5)), 1.22
    end, floor = length / 2, 0.98
    cab = float(rng.uniform(1.6, 2.1))
    paint = some_paint(rng)
    radius, axles = 0.48, [end - 1.05, -end + 1.4]
    if length > 7.8:
        axles.append(-end + 2.5)
    frame = box((-end + 0.1, -0.55, 0.5), (end - cab - 0.02, 0.55, floor), DARK)
    faces = []
    for side in (-1.0, 1.0):
        faces += [i for x in axles[1:] for i in wheel_face(x, side * (half - 0.02), radius, STEEL)]
    wheels = []
    for x in axles[1:]:
        for side in (-1.0, 1.0):
            start, stop = sorted((side * (half - 0.4), side * (half - 0.03)))
            outer = [i for i in faces if i.outward[1] * side > 0 and abs(i.points[:, 0].mean() - x) < radius]
            wheels.append(part(prism(circle(x, radius, radius, 16), start, stop, (0.07, 0.07, 0.08)) + outer))
    tank = box((-0.2, -half + 0.1, 0.45), (0.9, half - 0.1, 0.9), toned(STEEL, 0.7), 0.08)
    parts = [part(frame), part(tank), *wheels]
    parts += treads(axles[:1], half, radius, 0.3, 0.4) + [_truck_cab(rng, end, cab, half, radius, axles[0], paint, lit)]
    parts += _cargo(rng, -end, end - cab - 0.25, half, floor, paint)
    tail = lamps(-end - 0.02, half - 0.1, 0.7, (0.3, 0.16), False, lit)
    bumper = plate(
        rectangle(-half + 0.1, half - 0.1, 0.55, 0.9),
        -end,
        DARK,
        -1.0,
        "x",
    )
    parts.append(part([bumper, *tail], (-end - 0.03, -half, 0.5), (-end, half, 0.9)))
    return parts


def _band(x0: float, x1: float, z0: float, z1: float, y: float, colour: Colour) -> Item:
    return plate(rectangle(x0, x1, z0, z1), y, colour, y)


def _window_row(x0: float, x1: float, z0: float, z1: float, y: float, panes: int, gap: float) -> list[Item]:
    items = [_band(x0 - 0.06, x1 + 0.06, z0 - 0.06, z1 + 0.06, y, DARK)]
    edges = np.linspace(x0, x1, panes + 1)
    for left, right in zip(edges[:-1], edges[1:] - gap, strict=True):
        items += pane(side_quad(left, right, z0, z1, y), (0.0, 1.0), (0.0, 1.0), np.array([0.0, y, 0.0]))
    return items


def _door(x: float, width: float, z0: float, z1: float, y: float) -> list[Item]:
    items = [_band(x - 0.05, x + width + 0.05, z0, z1 + 0.1, y, (0.1, 0.1, 0.11))]
    for left in (x, x + width / 2 + 0.03):
        items.append(_band(left, left + width / 2 - 0.03, z0 + 0.08, z1, y, toned(GLASS, 1.12)))
    return items


def _bus_front(end: float, half: float, roof: float, lean: float, sign_top: float, lit: bool) -> list[Item]:
    low, high = 1.15, min(roof, 3.3) - 0.55
    screen = front_quad(-half + 0.1, half - 0.1, low, high, end, -lean * (high - low) / (roof - 1.1))
    items = pane(screen, (0.0, 1.0), (0.0, 1.0), FORWARD)
    z = min(sign_top, 3.3) - 0.45
    x = end - lean * (z - 1.1) / (roof - 1.1) + 0.01
    items.append(plate(rectangle(-half + 0.35, half - 0.35, z, z + 0.28), x, DARK,
                       1.0, "x"))  # fmt: skip
    items.append(plate(rectangle(-half + 0.5, half - 0.7, z + 0.07, z + 0.2),
                       x, AMBER, 1.0, "x", Kind.GLOW))  # fmt: skip
    items += lamps(end + 0.01, half, 0.62, (0.32, 0.2), True, lit)
    return [*items, number_plate(end + 0.01, 0.42, True)]


def _tram_section(
    start: float, end: float, first: bool, last: bool, rake: float, half: float, under: float, roof: float,
    paint: Colour, stripe: Colour, lit: bool,
) -> Part:  # fmt: skip
    back, front = rake if first else 0.0, rake if last else 0.0
    z = 1.15
    profile = rounded(
        [(start, under), (start, z), (start + back, roof), (end - front, roof), (end, z), (end, under)],
        0.3 if first or last else 0.02,
    )
    items = prism(profile, -half, half, paint, 0.16)
    x0, x1 = start + (back + 0.45 if first else 0.3), end - (front + 0.45 if last else 0.3)
    for side in (-1.0, 1.0):
        y = side * (half + 0.002)
        items.append(_band(start + 0.05, end - 0.05, under + 0.06, 0.8, y, stripe))
        items += _window_row(x0, x1, z + 0.05, roof - 0.55, y, max(3, int((x1 - x0) / 1.3)), 0.08)
        items += _door((x0 + x1) / 2 - 0.6, 1.3, 0.36, roof - 0.5, y)
    if last:
        items += _tram_end(end, half, roof, front, 1.0, lit)
    if first:
        items += _tram_end(start, half, roof, back, -1.0, lit)
    return part(items)


def _tram_end(x: float, half: float, roof: float, rake: float, direction: float, lit: bool) -> list[Item]:
    wall = front_quad(-half + 0.1, half - 0.1, 1.15, roof, x + direction * 0.005, -direction * rake)
    outward = np.array([direction, 0.0, 0.3])
    items = pane(wall, (0.04, 0.96), (0.08, 0.72), outward)
    low = 0.76
    quad = rectangle(-half + 0.5, half - 0.5, low + 0.06, low + 0.2)
    top = wall[0] * 0.14 + wall[3] * 0.86
    sign = rectangle(-0.6, 0.6, top[2] - 0.1, top[2] + 0.12)
    items.append(plate(sign, float(top[0]) + direction * 0.02, AMBER, direction, "x", Kind.GLOW))
    items.append(plate(quad, x + direction * 0.01, DARK, direction, "x"))
    return items + lamps(x + direction * 0.01, half, 0.72, (0.26, 0.26), direction > 0, lit)


def _truck_cab(
    rng: np.random.Generator, end: float, depth: float, half: float, radius: float, axle: float,
    paint: Colour, lit: bool,
) -> Part:  # fmt: skip
    roof, back, under = float(rng.uniform(2.5, 3.0)), end - depth, 0.42
    lean = float(rng.uniform(0.05, 0.3))
    profile = rounded([(back, under), (back, roof), (end - lean - 0.1, roof), (end, 1.5), (end, under)], 0.2)
    items = prism(profile, -half, half, paint, 0.12)
    low, high = 1.5, roof - 0.3
    for side in (-1.0, 1.0):
        y = side * (half + 0.002)
        window = [(back + 0.55, low), (end - 0.2, low), (end - lean - 0.2, high), (back + 0.55, high)]
        items.append(plate(window, y, GLASS, side))
        x = back + 0.75
        items.append(plate([(x, low), (x + 0.2, low), (x + 0.4, high), (x + 0.2, high)], y, GLINT, side))
        items.append(_band(back + 0.5, back + 0.52, 0.9, high, y, toned(paint, 0.6)))
        items += wheel_face(axle, y + side * 0.004, radius, STEEL, under)
    screen = front_quad(-half + 0.1, half - 0.1, 1.5, roof, end, -lean - 0.1)
    items += pane(screen, (0.02, 0.98), (0.03, 0.78), FORWARD)
    for z in (0.95, 1.12, 1.29):
        slat = rectangle(-half + 0.4, half - 0.4, z, z + 0.1)
        items.append(plate(slat, end + 0.01, DARK, 1.0, "x"))
    items.append(plate(rectangle(-half, half, 0.45, 0.85), end + 0.01, toned(DARK, 1.1), 1.0, "x"))
    items += lamps(end + 0.02, half, 0.55, (0.34, 0.2), True, lit)
    return part([*items, number_plate(end + 0.02, 0.55, True)], (back, -half, under), (end, half, roof))


def _cargo(rng: np.random.Generator, x0: float, x1: float, half: float, floor: float, paint: Colour) -> list[Part]:
    chance = rng.random()
    if chance < 0.5:
        roof = float(rng.uniform(2.9, 3.7))
        colour = paint if rng.random() < 0.35 else some_paint(rng)
        items = box((x0, -half, floor), (x1, half, roof), colour, 0.05)
        stripe = some_paint(rng)
        low = floor + float(rng.uniform(0.4, 1.2))
        for y in (-half - 0.002, half + 0.002):
            items.append(_band(x0 + 0.3, x1 - 0.3, low, low + float(rng.uniform(0.2, 0.7)), y, stripe))
        items.append(plate(rectangle(-0.015, 0.015, floor, roof), x0 - 0.002,
                           toned(colour, 0.5), -1.0, "x"))  # fmt: skip
        return [part(items)]
    if chance < 0.65:
        radius = (3.0 - floor) / 2
        tube = circle(0.0, floor + radius, radius, 20) * np.array([half / radius, 1.0])
        return [part(prism(tube, x0, x1, pick(rng, (STEEL, some_paint(rng))), 0.25, axis="x"))]
    if chance < 0.8:
        top = float(rng.uniform(2.1, 2.6))
        tub = prism([(x0 - 0.1, top), (x0 + 0.35, floor), (x1, floor), (x1, top)], -half, half, some_paint(rng), 0.04)
        rim = rectangle(x0 + 0.2, x1 - 0.1, -half + 0.1, half - 0.1)
        heap = np.array([(x, y, top) for x, y in rim])
        peak = heap * np.array([0.45, 0.3, 1.0]) + np.array([(x0 + x1) * 0.275, 0.0, 0.45])
        sand: list[Item] = []
        for i in range(4):
            quad = np.stack([heap[i], heap[(i + 1) % 4], peak[(i + 1) % 4], peak[i]])
            sand.append(
                Item(
                    Kind.SOLID,
                    quad,
                    (0.66, 0.54, 0.36),
                    quad.mean(axis=0) - np.array([(x0 + x1) / 2, 0, top]),
                )
            )
        sand.append(Item(Kind.SOLID, peak, (0.7, 0.58, 0.4), (0.0, 0.0, 1.0)))
        return [part(tub), part(sand)]
    parts = [part(box((x0, -half, floor), (x1, half, floor + 0.18), toned(DARK, 1.15)))]
    edges = np.linspace(x0 + 0.1, x1 - 0.1, int(rng.integers(2, 5)))
    for left, right in zip(edges[:-1], edges[1:] - 0.15, strict=True):
        top = floor + float(rng.uniform(0.7, 1.9))
        parts.append(part(box((left, -half + 0.15, floor + 0.18), (right, half - 0.15, top), some_paint(rng), 0.04)))
    return parts
