"""Cars, pickups and vans."""

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
    some_paint,
    toned,
    treads,
    wheel_face,
)
from toy_vehicles.solids import (
    Colour,
    Floats,
    Item,
    Kind,
    Part,
    box,
    loft,
    part,
    plate,
    prism,
    rectangle,
    rounded,
)


def car(rng: np.random.Generator, lit: bool) -> list[Part]:
    """Hatchback, saloon, estate, off-roader or coupe, sometimes with a taxi sign."""
    style = str(rng.choice(["hatch", "saloon", "estate", "offroad", "coupe"]))
    length = float({"hatch": rng.uniform(3.6, 4.2), "offroad": rng.uniform(4.2, 4.8)}.get(style, rng.uniform(4.3, 4.9)))
    half = float(rng.uniform(0.84, 0.95))
    under = 0.3 if style == "offroad" else 0.2
    belt = float(rng.uniform(0.86, 0.95)) + (0.16 if style == "offroad" else 0.0)
    roof = belt + float(rng.uniform(0.48, 0.58)) - (0.1 if style == "coupe" else 0.0)
    paint = some_paint(rng)
    rear = {"saloon": -0.3, "coupe": -0.34}.get(style, -0.47) * length
    front = float(rng.uniform(0.17, 0.22)) * length
    rake_back = {"saloon": 0.55, "coupe": 0.8, "hatch": 0.35, "estate": 0.22}.get(style, 0.15)
    parts = _lower_body(rng, length, half, under, belt, paint, lit)
    parts.append(_cabin(rear, front, rake_back, 0.62, half, belt, roof, paint, rng))
    if rng.random() < 0.12:
        sign = (0.98, 0.8, 0.2) if rng.random() < 0.7 else (0.95, 0.95, 0.95)
        middle = (rear + front) / 2
        items = box((middle - 0.1, -0.25, roof), (middle + 0.1, 0.25, roof + 0.14), sign, 0.03)
        parts.append(part([Item(Kind.GLOW, i.points, i.colour, i.outward) for i in items] if lit else items))
    return parts


def pickup(rng: np.random.Generator, lit: bool) -> list[Part]:
    """The nose of a car, a single or double cabin and an open bed, sometimes with a load."""
    length, half = float(rng.uniform(4.9, 5.5)), float(rng.uniform(0.9, 1.0))
    under, belt = float(rng.uniform(0.34, 0.5)), float(rng.uniform(1.05, 1.2))
    roof, paint = belt + float(rng.uniform(0.5, 0.62)), some_paint(rng)
    double = rng.random() < 0.5
    front = float(rng.uniform(0.18, 0.23)) * length
    rear = front - (2.1 if double else 1.45)
    parts = _lower_body(rng, length, half, under, belt, paint, lit)
    bed_from, bed_to = -length / 2 + 0.12, rear - 0.1
    bed = rectangle(bed_from, bed_to, -half + 0.12, half - 0.12)
    parts[-1].items.append(plate(bed, belt + 0.01, (0.12, 0.12, 0.13), 1.0, "z"))
    for side in (-1.0, 1.0):
        y = side * (half + 0.002)
        seam = rectangle(bed_to, bed_to + 0.03, under + 0.1, belt)
        parts[-1].items.append(plate(seam, y, toned(paint, 0.55), side))
    parts.append(_cabin(rear, front, 0.14, 0.6, half, belt, roof, paint, rng))
    chance = rng.random()
    if chance < 0.45:
        height = belt + float(rng.uniform(0.15, 0.5))
        start = bed_from + float(rng.uniform(0.1, 0.5))
        colour = pick(rng, ((0.6, 0.44, 0.27), (0.5, 0.36, 0.24), (0.35, 0.42, 0.3), STEEL))
        parts.append(part(box((start, -half + 0.2, belt), (bed_to - 0.2, half - 0.2, height), colour, 0.04)))
    elif chance < 0.65:
        x = bed_to - 0.1
        items = box((x - 0.07, -half + 0.1, belt), (x, half - 0.1, roof + 0.06), DARK, 0.02)
        parts.append(part(items))
    return parts


def van(rng: np.random.Generator, lit: bool) -> list[Part]:
    """One tall body with a short sloping nose: panel van, minibus or people carrier."""
    carrier = rng.random() < 0.3
    length, half = float(rng.uniform(4.4, 5.9)), float(rng.uniform(0.93, 1.05))
    roof = float(rng.uniform(1.68, 1.85) if carrier else rng.uniform(1.95, 2.6))
    under, nose = 0.26, float(rng.uniform(0.85, 1.02))
    x_roof, x_nose = length * float(rng.uniform(0.2, 0.28)), length * float(rng.uniform(0.38, 0.43))
    z_nose = nose + 0.12
    paint = pick(rng, PAINTS[:2]) if rng.random() < 0.35 else some_paint(rng)
    profile = rounded(
        [(-length / 2, under), (-length / 2 + 0.06, roof), (x_roof, roof), (x_nose, z_nose),
         (length / 2, nose - 0.14), (length / 2, under)], 0.22,
    )  # fmt: skip
    body = prism(profile, -half, half, paint, 0.11)
    radius = float(rng.uniform(0.31, 0.36))
    axles = (-length * 0.3, length * 0.33)
    windows = carrier or rng.random() < 0.4
    for side in (-1.0, 1.0):
        y = side * (half + 0.002)
        body += _van_side(side, y, length, roof, nose, x_roof, x_nose, paint, windows)
        for x in axles:
            body += wheel_face(x, y + side * 0.004, radius, STEEL, under)
    windscreen = front_quad(-half + 0.06, half - 0.06, z_nose, roof, x_nose, x_roof - x_nose)
    body += pane(windscreen, (0.04, 0.96), (0.1, 0.9), np.array([1.0, 0, 0.5]))
    tail = front_quad(-half + 0.1, half - 0.1, under, roof, -length / 2 - 0.01, 0.06)
    backward = np.array([-1.0, 0, 0])
    body += pane(tail, (0.06, 0.47), (0.6, 0.88), backward) + pane(tail, (0.53, 0.94), (0.6, 0.88), backward)
    body += lamps(-length / 2 - 0.02, half, 0.75, (0.14, 0.5), False, lit)
    body += lamps(length / 2 + 0.01, half, nose - 0.34, (0.34, 0.2), True, lit)
    grille = rectangle(-half + 0.5, half - 0.5, nose - 0.36, nose - 0.2)
    body += [plate(grille, length / 2 + 0.01, DARK, 1.0, "x"), number_plate(length / 2 + 0.01, 0.36, True)]
    body += [number_plate(-length / 2 - 0.02, 0.5, False)]
    below = [shadow_below(-length / 2 + 0.3, length / 2 - 0.3, half, under)]
    whole = part(body, (-length / 2, -half, under), (length / 2, half, roof))
    return below + treads(axles, half, radius, 0.22, under) + [whole]


def _van_side(
    side: float, y: float, length: float, roof: float, nose: float, x_roof: float, x_nose: float,
    paint: Colour, windows: bool,
) -> list[Item]:  # fmt: skip
    low, high = nose + 0.12, roof - 0.2
    back = x_roof - 0.75
    lean = (x_nose - x_roof) * 0.82
    door = [(back, low), (x_roof + lean, low), (x_roof + 0.08, high), (back, high)]
    items = [plate(door, y, GLASS, side)]
    items.append(
        plate([(back + 0.2, low), (back + 0.45, low), (back + 0.7, high), (back + 0.45, high)], y, GLINT, side)
    )
    for x in (back - 0.06, x_nose - 0.15):
        items.append(plate(rectangle(x, x + 0.025, 0.4, low), y, toned(paint, 0.6), side))
    sill = rectangle(-length / 2 + 0.1, length / 2 - 0.05, 0.3, 0.42)
    items.append(plate(sill, y, toned(paint, 0.45), side))
    if windows:
        edges = np.linspace(-length / 2 + 0.22, back - 0.1, 3)
        for left, right in zip(edges[:-1], edges[1:] - 0.09, strict=True):
            pane_outline = rounded(rectangle(left, right, low, high), 0.08, 2)
            items.append(plate(pane_outline, y, GLASS, side))
            w = right - left
            glint = [
                (left + 0.2 * w, low),
                (left + 0.4 * w, low),
                (left + 0.6 * w, high),
                (left + 0.4 * w, high),
            ]
            items.append(plate(glint, y, GLINT, side))
    return items


def _lower_body(
    rng: np.random.Generator, length: float, half: float, under: float, belt: float, paint: Colour, lit: bool,
) -> list[Part]:  # fmt: skip
    """All parts below the windows; the last part is the body, with its panels and the outer sides of the wheels."""
    end, drop = length / 2, float(rng.uniform(0.1, 0.22))
    profile = rounded(
        [(-end + 0.03, under), (-end, belt - 0.22), (-end + 0.1, belt), (length * 0.2, belt),
         (end - 0.15, belt - drop), (end, belt - drop - 0.2), (end - 0.02, under)], 0.14,
    )  # fmt: skip
    body = prism(profile, -half, half, paint, 0.09)
    radius = float(rng.uniform(0.3, 0.35)) + (0.06 if under > 0.25 else 0.0)
    rim = pick(rng, (STEEL, (0.8, 0.81, 0.83), (0.35, 0.36, 0.38)))
    axles = (-length * 0.29, length * 0.31)
    for side in (-1.0, 1.0):
        y = side * (half + 0.002)
        body.append(plate(rectangle(-end + 0.1, end - 0.1, under, under + 0.1),
                          y, toned(paint, 0.4), side))  # fmt: skip
        for x in (length * 0.17, -length * 0.06):
            body.append(plate(rectangle(x, x + 0.02, under + 0.12, belt), y,
                              toned(paint, 0.6), side))  # fmt: skip
            handle = rectangle(x - 0.28, x - 0.12, belt - 0.16, belt - 0.12)
            body.append(plate(handle, y, toned(paint, 0.5), side))
        crease = [
            (-end + 0.1, belt - 0.07),
            (end - 0.3, belt - 0.1),
            (end - 0.3, belt - 0.06),
            (-end + 0.1, belt - 0.03),
        ]
        body.append(plate(crease, y, toned(paint, 1.25), side))
        for x in axles:
            body += wheel_face(x, y + side * 0.004, radius, rim, under)
    z = belt - drop - 0.27
    body += lamps(end + 0.01, half, z, (0.36, 0.15), True, lit) + lamps(
        -end - 0.01, half, belt - 0.38, (0.3, 0.16), False, lit
    )
    body += _nose(half, end, z, under)
    body += [number_plate(end + 0.02, under + 0.1, True), number_plate(-end - 0.01, belt - 0.36, False)]
    below = [shadow_below(-end + 0.3, end - 0.3, half, under)]
    return below + treads(axles, half, radius, 0.22, under) + [part(body, (-end, -half, under), (end, half, belt))]


def _nose(half: float, end: float, z: float, under: float) -> list[Item]:
    inner = half - 0.52
    grille = rounded(rectangle(-inner, inner, z, z + 0.13), 0.05, 2)
    intake = [
        (-half + 0.3, under + 0.05),
        (half - 0.3, under + 0.05),
        (half - 0.4, under + 0.24),
        (-half + 0.4, under + 0.24),
    ]
    return [plate(grille, end + 0.01, DARK, 1.0, "x"), plate(intake, end + 0.01, DARK, 1.0, "x")]


def _cabin(
    rear: float, front: float, rake_back: float, rake_front: float, half: float, belt: float, roof: float,
    paint: Colour, rng: np.random.Generator,
) -> Part:  # fmt: skip
    """The cabin above the belt line: a frustum with windows in its four sides."""
    low, high = half - 0.06, half - 0.24
    bottom = np.array([(rear, -low, belt), (front, -low, belt), (front, low, belt), (rear, low, belt)])
    x0, x1 = rear + rake_back, front - rake_front
    top = np.array([(x0, -high, roof), (x1, -high, roof), (x1, high, roof), (x0, high, roof)])
    items = loft(bottom, top, paint)
    sides = items[:4]
    doors = [(0.04, 0.31), (0.35, 0.62), (0.66, 0.95)] if front - rear > 2.4 else [(0.06, 0.47), (0.53, 0.94)]
    if front - rear < 1.6:
        doors = [(0.08, 0.93)]
    for index in (0, 2):
        wall: Floats = sides[index].points
        for across in doors if index == 0 else [(1 - b, 1 - a) for a, b in doors]:
            items += pane(wall, across, (0.1, 0.86), np.asarray(sides[index].outward))
    for index in (1, 3):
        items += pane(sides[index].points, (0.06, 0.94), (0.08, 0.9), np.asarray(sides[index].outward))
    if rng.random() < 0.15:
        deck = rectangle(x0 + 0.05, x1 - 0.05, -high + 0.05, high - 0.05)
        items.append(plate(deck, roof + 0.01, DARK, 1.0, "z"))
    return part(items, (rear, -low, belt), (front, low, roof))
