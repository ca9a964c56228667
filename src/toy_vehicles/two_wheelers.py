"""Motorcycles, scooters and bicycles, with and without riders."""

import numpy as np

from toy_vehicles.fittings import (
    CHROME,
    DARK,
    LAMP,
    RUBBER,
    STEEL,
    TAIL,
    rider,
    ring,
    some_paint,
    toned,
)
from toy_vehicles.solids import (
    Colour,
    Item,
    Kind,
    Part,
    ball,
    box,
    circle,
    part,
    prism,
    rounded,
    stroke,
)


def bicycle(rng: np.random.Generator, lit: bool) -> list[Part]:
    """A bicycle with a diamond or step-through frame; basket or box, mudguards and rider are optional."""
    base, radius = float(rng.uniform(0.98, 1.12)), float(rng.uniform(0.31, 0.36))
    back, front = -base / 2, base / 2
    paint = some_paint(rng)
    tube = float(rng.uniform(0.018, 0.028))
    crank, saddle = (-0.05, radius - 0.05), (-0.22, float(rng.uniform(0.88, 1.0)))
    head_low, head = (front - 0.2, 0.72), (front - 0.27, 0.93)
    seat = (crank[0] + (saddle[0] - crank[0]) * 0.8, crank[1] + (saddle[1] - crank[1]) * 0.8)
    step = rng.random() < 0.35
    lines = [
        [(back, radius), crank], [crank, seat], [(back, radius), seat],
        [crank, head_low], [(crank[0] - 0.08, 0.5) if step else seat, head_low],
        [(front, radius), head_low, head],
    ]  # fmt: skip
    frame = [_wheel(back, radius), _wheel(front, radius)]
    frame += [spoke for x in (back, front) for spoke in _spokes(x, radius)]
    frame += [_tube(line, tube, paint) for line in lines]
    frame.append(_tube([seat, saddle], tube * 0.8, STEEL))
    frame.append(stroke([(saddle[0] - 0.14, 0, saddle[1]), (saddle[0] + 0.13, 0, saddle[1] + 0.01)], 0.04, DARK))
    frame.append(ball((crank[0], 0, crank[1]), 0.07, toned(STEEL, 0.7)))
    if rng.random() < 0.5:
        frame += [_guard(x, radius, paint) for x in (back, front)]
    grip, bar = 0.26, (head[0] + float(rng.uniform(-0.08, 0.14)), head[1] + float(rng.uniform(0.03, 0.14)))
    bars = [
        _tube([head, bar], tube, STEEL),
        stroke([(bar[0], -grip, bar[1]), (bar[0], grip, bar[1])], 0.02, DARK),
    ]
    if lit:
        bars.append(ball((head[0] + 0.1, 0, head[1] - 0.08), 0.045, LAMP))
    parts = [part(frame, (back - radius, -0.05, 0), (front + radius, 0.05, 0.95)),
             part(bars, (bar[0] - 0.1, -0.05, 0.9), (bar[0] + 0.1, 0.05, 1.1))]  # fmt: skip
    chance = rng.random()
    if chance < 0.25:
        parts.append(part(box((head[0] + 0.1, -0.16, 0.8), (head[0] + 0.4, 0.16, 1.02), (0.62, 0.45, 0.28), 0.03)))
    elif chance < 0.4:
        parts.append(part(box((back - 0.2, -0.14, 0.72), (back + 0.15, 0.14, 0.95), some_paint(rng), 0.03)))
    if rng.random() < 0.6:
        foot = (crank[0] + 0.08, crank[1] - 0.1)
        parts += rider(rng, (saddle[0] + 0.02, saddle[1] + 0.08), bar, foot, bool(rng.random() < 0.5), grip)
    return parts


def motorcycle(rng: np.random.Generator, lit: bool) -> list[Part]:
    """A motorcycle, with or without fairing, or a scooter; case and rider are optional."""
    if rng.random() < 0.3:
        return _scooter(rng, lit)
    base, radius = float(rng.uniform(1.3, 1.55)), float(rng.uniform(0.3, 0.35))
    back, front = -base / 2, base / 2
    paint = some_paint(rng)
    faired = rng.random() < 0.4
    seat, tank = float(rng.uniform(0.72, 0.82)), float(rng.uniform(0.92, 1.02))
    bar = (front - 0.45, tank + 0.14)
    wheels = [_fat_wheel(back, radius), _fat_wheel(front, radius)]
    fork = [_offset([(front, radius), (bar[0] + 0.02, bar[1])], y, 0.035, CHROME) for y in (-0.09, 0.09)]
    rear = [_offset([(back, radius), (-0.15, 0.45), (-0.1, 0.7)], y, 0.035, DARK) for y in (-0.09, 0.09)]
    engine = prism(
        rounded([(-0.3, 0.26), (0.34, 0.26), (0.4, 0.6), (-0.26, 0.64)], 0.08),
        -0.17,
        0.17,
        toned(STEEL, 0.6),
        0.05,
    )
    pipe = [(0.3, -0.2, 0.4), (0.1, -0.2, 0.24), (back + 0.1, -0.2, 0.34), (back - 0.2, -0.2, 0.4)]
    engine.append(stroke(pipe, 0.05, CHROME))
    tank_shape = rounded([(-0.14, seat), (0.38, tank - 0.2), (0.36, tank), (0.02, tank)], 0.12)
    saddle = rounded([(-0.8, seat + 0.1), (-0.1, seat - 0.04), (-0.1, seat + 0.07), (-0.78, seat + 0.2)], 0.05)
    tail = rounded([(-0.9, seat + 0.05), (-0.2, seat - 0.14), (-0.12, seat - 0.02), (-0.85, seat + 0.12)], 0.04)
    body = prism(tail, -0.12, 0.12, paint, 0.03) + prism(saddle, -0.13, 0.13, DARK, 0.04)
    body += prism(tank_shape, -0.16, 0.16, paint, 0.06)
    body.append(ball((-0.9, 0, seat + 0.08), 0.05, TAIL))
    parts = [part(w) for w in wheels] + [part(rear), part(engine), part(body), part(fork)]
    if faired:
        nose = rounded([(0.1, 0.42), (0.42, 0.34), (0.62, 0.8), (0.5, 1.12), (0.34, 1.0)], 0.1)
        parts.append(part(prism(nose, -0.2, 0.2, paint, 0.07)))
    bars = [
        stroke(
            [(bar[0] - 0.06, -0.34, bar[1]), (bar[0], 0, bar[1] - 0.03), (bar[0] - 0.06, 0.34, bar[1])],
            0.025,
            DARK,
        )
    ]
    bars.append(ball((bar[0] + 0.2, 0, bar[1] - 0.16), 0.1, LAMP))
    parts.append(part(bars, (bar[0] - 0.1, -0.1, bar[1] - 0.1), (bar[0] + 0.3, 0.1, bar[1] + 0.1)))
    if rng.random() < 0.3:
        parts.append(
            part(
                box(
                    (back - 0.25, -0.24, seat + 0.2),
                    (back + 0.15, 0.24, seat + 0.55),
                    toned(paint, 0.7),
                    0.05,
                )
            )
        )
    if rng.random() < 0.6:
        parts += rider(rng, (-0.28, seat + 0.17), (bar[0] - 0.05, bar[1]), (-0.08, 0.34), True, 0.32)
    return parts


def _scooter(rng: np.random.Generator, lit: bool) -> list[Part]:
    paint, radius = some_paint(rng), 0.25
    back, front = -0.58, 0.62
    tail = rounded([(-0.95, 0.36), (-0.2, 0.26), (-0.16, 0.68), (-0.9, 0.74)], 0.16)
    shield = rounded([(0.3, 0.3), (0.4, 0.3), (0.5, 0.62), (0.38, 1.0), (0.28, 1.0), (0.38, 0.62)], 0.06)
    guard = rounded([(0.36, 0.4), (0.9, 0.28), (0.8, 0.5), (0.6, 0.58)], 0.1)
    parts = [part(_fat_wheel(back, radius)), part(_fat_wheel(front, radius))]
    parts.append(part(box((-0.3, -0.18, 0.24), (0.4, 0.18, 0.32), toned(paint, 0.6))))
    parts.append(part(prism(tail, -0.19, 0.19, paint, 0.08)))
    parts.append(part(prism(guard, -0.12, 0.12, paint, 0.05)))
    parts.append(part(prism(shield, -0.22, 0.22, paint, 0.05)))
    parts.append(part(box((-0.85, -0.15, 0.72), (-0.15, 0.15, 0.82), (0.35, 0.22, 0.14), 0.04)))
    bars = [stroke([(0.24, -0.3, 1.08), (0.32, 0, 1.04), (0.24, 0.3, 1.08)], 0.03, DARK)]
    bars += [ball((0.42, 0, 1.0), 0.085, LAMP if lit else CHROME)]
    parts.append(part(bars, (0.2, -0.1, 1.0), (0.5, 0.1, 1.1)))
    if rng.random() < 0.6:
        parts += rider(rng, (-0.4, 0.86), (0.26, 1.08), (0.05, 0.36), True, 0.28)
    return parts


def _fat_wheel(x: float, radius: float) -> list[Item]:
    tyre = prism(circle(x, radius, radius, 20), -0.07, 0.07, RUBBER, 0.03)
    for side in (-1.0, 1.0):
        disc = circle(x, radius, radius * 0.6)
        for size, colour in ((0.6, toned(STEEL, 0.85)), (0.5, DARK), (0.32, STEEL), (0.12, DARK)):
            plane = (disc - np.array([x, radius])) * size / 0.6 + np.array([x, radius])
            points = np.stack([plane[:, 0], np.full(len(plane), side * 0.071), plane[:, 1]], axis=1)
            tyre.append(Item(Kind.SOLID, points, colour, (0.0, side, 0.0)))
    return tyre


def _wheel(x: float, radius: float) -> Item:
    return ring(x, 0.0, radius, 0.02, RUBBER)


def _spokes(x: float, radius: float) -> list[Item]:
    rims = circle(x, radius, radius * 0.93, 8)
    return [stroke([(x, 0, radius), (a, 0, z)], 0.004, STEEL) for a, z in rims]


def _guard(x: float, radius: float, colour: Colour) -> Item:
    angles = np.linspace(0.15 * np.pi, 0.95 * np.pi, 9)
    r = radius + 0.035
    return stroke([(x + r * np.cos(a), 0, radius + r * np.sin(a)) for a in angles], 0.016, toned(colour, 0.8))


def _tube(line: list[tuple[float, float]], radius: float, colour: Colour) -> Item:
    return stroke([(x, 0.0, z) for x, z in line], radius, colour)


def _offset(line: list[tuple[float, float]], y: float, radius: float, colour: Colour) -> Item:
    return stroke([(x, y, z) for x, z in line], radius, colour)
