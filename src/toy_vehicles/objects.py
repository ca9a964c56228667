"""Objects around the vehicle: buildings, trees, bushes, lamps, signs and fences."""

import numpy as np

from toy_vehicles.fittings import DARK, GLASS, STEEL, pick, toned
from toy_vehicles.painter import Camera
from toy_vehicles.settings import Setting
from toy_vehicles.solids import (
    Colour,
    Item,
    Kind,
    Part,
    ball,
    box,
    part,
    plate,
    rectangle,
    stroke,
)
from toy_vehicles.surroundings import GREENS, SNOW, WALLS

AUTUMN: tuple[Colour, ...] = ((0.8, 0.52, 0.18), (0.72, 0.34, 0.16), (0.82, 0.68, 0.24))


def scenery(setting: Setting, camera: Camera, rng: np.random.Generator) -> list[list[Part]]:
    """Return the objects behind the vehicle, each a list of parts at its position."""
    away = -1.0 if camera.eye[1] > 0 else 1.0
    along_road = abs(camera.forward[0]) > 0.75
    objects: list[list[Part]] = []
    for side in (away, -away) if along_road else (away,):
        x = -14.0 if not along_road else 0.0
        reach = 16.0 if not along_road else 34.0
        while x < reach:
            gap = float(rng.uniform(2.5, 7.0))
            at = (x if not along_road else -x * np.sign(camera.eye[0]), side * float(rng.uniform(8.2, 10.5)))
            objects.append(_object(setting, at, rng))
            x += gap + 3.0
    return [parts for parts in objects if parts and _behind_vehicle(parts, camera)]


def tree(at: tuple[float, float], setting: Setting, rng: np.random.Generator, size: float = 1.0) -> list[Part]:
    """A broad-leaved tree or a fir, pale in snow."""
    x, y = at
    height = float(rng.uniform(2.6, 5.0)) * size
    trunk = stroke([(x, y, 0), (x, y, height * 0.6)], 0.12 * size, (0.36, 0.26, 0.19))
    leaf = pick(rng, AUTUMN) if rng.random() < 0.15 else pick(rng, GREENS)
    if setting.snowy:
        leaf = toned(leaf, 1.55)
    if rng.random() < 0.3:
        cones = []
        for k in range(3):
            low, half_width = height * (0.25 + 0.24 * k), (1.2 - 0.3 * k) * size
            points = np.array([(x - half_width, y, low), (x + half_width, y, low), (x, y, low + height * 0.42)])
            across = points.copy()
            across[:, 0], across[:, 1] = x, y + points[:, 0] - x
            for triangle in (points, across):
                for side in (1.0, -1.0):
                    outward = np.array([0.0, side, 0.3]) if triangle is points else np.array([side, 0.0, 0.3])
                    cones.append(Item(Kind.SOLID, triangle, toned(leaf, 0.8), outward))
        return [part([trunk, *cones])]
    crown = [
        ball((np.array([x, y, height * 0.72]) + rng.normal(0, (0.55, 0.4, 0.45)) * size).tolist(),
             float(rng.uniform(0.7, 1.15)) * size, toned(leaf, float(rng.uniform(0.88, 1.08))))
        for _ in range(5)
    ]  # fmt: skip
    return [part([trunk, *crown])]


def bush(at: tuple[float, float], setting: Setting, rng: np.random.Generator, size: float) -> list[Part]:
    """A bush: green balls on the ground."""
    leaf = toned(pick(rng, GREENS), 1.5 if setting.snowy else 1.0)
    items = [
        ball((*(np.array(at) + rng.normal(0, 0.5, 2) * size), size * rng.uniform(0.3, 0.6)),
             size * float(rng.uniform(0.4, 0.65)), toned(leaf, float(rng.uniform(0.85, 1.1))))
        for _ in range(5)
    ]  # fmt: skip
    return [part(items)]


def lamp_post(at: tuple[float, float], lit: bool, height: float = 5.0) -> list[Part]:
    """A street lamp."""
    x, y = at
    items = [stroke([(x, y, 0), (x, y, height), (x + 0.6, y, height + 0.25)], 0.07, DARK)]
    colour = (1.0, 0.9, 0.6) if lit else STEEL
    items.append(Item(Kind.BALL, np.array([(x + 0.7, y, height + 0.2)]), colour, radius_m=0.16))
    return [part(items)]


def sign_post(at: tuple[float, float], rng: np.random.Generator) -> list[Part]:
    """A traffic sign: balls, because they look like discs from every side."""
    x, y = at
    colour = pick(rng, ((0.78, 0.13, 0.12), (0.15, 0.35, 0.7), (0.95, 0.8, 0.2)))
    items = [
        stroke([(x, y, 0), (x, y, 2.3)], 0.04, STEEL),
        ball((x, y, 2.3), 0.32, colour),
        ball((x, y, 2.3), 0.22, (0.95, 0.95, 0.93)),
    ]
    return [part(items)]


def fence(x0: float, x1: float, y: float, rng: np.random.Generator) -> list[Part]:
    """A low wooden fence or a guard rail."""
    colour = pick(rng, ((0.6, 0.48, 0.34), (0.9, 0.9, 0.88), STEEL))
    items = [stroke([(x, y, 0), (x, y, 0.85)], 0.05, colour) for x in np.arange(x0, x1, 1.6)]
    items += [stroke([(x0, y, z), (x1, y, z)], 0.05, colour) for z in (0.42, 0.74)]
    return [part(items)]


def _object(setting: Setting, at: tuple[float, float], rng: np.random.Generator) -> list[Part]:
    chance = rng.random()
    if setting.place in ("city", "suburb") and chance < (0.75 if setting.place == "city" else 0.4):
        return _building(at, setting, rng)
    if chance < 0.8:
        return tree(at, setting, rng)
    if chance < 0.9:
        return lamp_post((at[0], at[1] * 0.7), setting.night)
    return bush(at, setting, rng, 1.3)


def _building(at: tuple[float, float], setting: Setting, rng: np.random.Generator) -> list[Part]:
    x, side = at[0], 1.0 if at[1] > 0 else -1.0
    width, floors = (
        float(rng.uniform(4, 8)),
        int(rng.integers(1, 3) if setting.place == "suburb" else rng.integers(2, 6)),
    )
    top, near = floors * 2.6 + 0.6, abs(at[1])
    y0, y1 = sorted((side * near, side * (near + 5)))
    wall = pick(rng, WALLS)
    items = box((x - width / 2, y0, 0), (x + width / 2, y1, top), wall)
    front = side * near
    columns = int(width / 1.5)
    for floor in range(floors):
        for column in range(columns):
            left = x - width / 2 + (column + 0.5) * width / columns - 0.4
            low = floor * 2.6 + 0.9
            glow = setting.night and rng.random() < 0.45
            outline = rectangle(left, left + 0.8, low, low + 1.3)
            kind = Kind.GLOW if glow else Kind.SOLID
            items.append(plate(outline, front, (0.98, 0.83, 0.5) if glow else GLASS, -side, "y", kind))
    roof = toned(wall, 0.6) if not setting.snowy else SNOW
    items += box((x - width / 2 - 0.15, y0 - 0.1, top), (x + width / 2 + 0.15, y1 + 0.1, top + 0.3), roof)
    return [part(items)]


def _behind_vehicle(parts: list[Part], camera: Camera) -> bool:
    """Return True if the object is at least 1.5 m behind the vehicle, which is at the origin."""
    middle = (parts[0].low + parts[0].high) / 2
    behind = float((middle - camera.eye) @ camera.forward)
    return behind > float(-camera.eye @ camera.forward) + 1.5
