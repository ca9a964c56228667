"""Sky, horizon, ground and road."""

import numpy as np
from PIL import Image, ImageDraw

from toy_vehicles.fittings import GLASS, pick, toned
from toy_vehicles.painter import NEAR_M, Camera
from toy_vehicles.settings import Setting
from toy_vehicles.solids import Colour, Floats

GREENS: tuple[Colour, ...] = ((0.3, 0.5, 0.22), (0.4, 0.57, 0.26), (0.23, 0.42, 0.24), (0.52, 0.6, 0.28))
WALLS: tuple[Colour, ...] = (
    (0.83, 0.74, 0.62), (0.72, 0.45, 0.36), (0.86, 0.84, 0.79), (0.62, 0.66, 0.7), (0.9, 0.78, 0.52),
    (0.55, 0.5, 0.47), (0.7, 0.78, 0.74), (0.83, 0.6, 0.52),
)  # fmt: skip
SNOW: Colour = (0.92, 0.94, 0.97)
_GROUNDS: dict[str, tuple[Colour, ...]] = {
    "city": ((0.62, 0.61, 0.58), (0.55, 0.55, 0.54)),
    "suburb": ((0.47, 0.6, 0.31), (0.6, 0.58, 0.52)),
    "country": ((0.5, 0.63, 0.3), (0.63, 0.62, 0.33), (0.44, 0.57, 0.32)),
    "field": ((0.6, 0.5, 0.33), (0.8, 0.69, 0.39), (0.5, 0.61, 0.28)),
    "coast": ((0.85, 0.77, 0.58), (0.58, 0.64, 0.42)),
}


def sky(setting: Setting, width: int, horizon_v: float, height: int) -> Image.Image:
    """Return a canvas filled with the gradient of the sky, from the top to the horizon."""
    rows = np.clip(np.arange(height) / max(horizon_v, 1.0), 0, 1)[:, None] ** 1.3
    gradient = setting.zenith * (1 - rows) + setting.horizon * rows
    levels = np.clip(gradient * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(levels[:, None]).resize((width, height), Image.Resampling.NEAREST)


def celestial(
    draw: ImageDraw.ImageDraw, setting: Setting, width: int, horizon_v: float, rng: np.random.Generator
) -> None:
    """Draw the sun or the moon, stars and clouds."""
    if setting.night and setting.weather == "clear":
        for _ in range(25):
            u, v = rng.uniform(0, width), rng.uniform(0, max(horizon_v, 1))
            draw.ellipse((u, v, u + 2, v + 2), fill=(205, 212, 235))
    if setting.weather == "clear" and rng.random() < 0.4:
        u, v, r = (
            rng.uniform(0.1, 0.9) * width,
            rng.uniform(0.1, 0.75) * horizon_v,
            width * rng.uniform(0.03, 0.06),
        )
        colour = {"night": (238, 236, 214), "sunset": (255, 214, 140)}.get(setting.hour, (255, 246, 214))
        draw.ellipse((u - r, v - r, u + r, v + r), fill=colour)
    if setting.weather in ("clear", "rain") and rng.random() < 0.7:
        white = np.clip(setting.horizon * 0.5 + (0.08 if setting.night else 0.5), 0, 1)
        fill = (int(white[0] * 255), int(white[1] * 255), int(white[2] * 255))
        for _ in range(int(rng.integers(1, 4))):
            u, v, size = (
                rng.uniform(-0.1, 1.1) * width,
                rng.uniform(0.05, 0.8) * horizon_v,
                width * rng.uniform(0.04, 0.09),
            )
            for k in range(int(rng.integers(3, 6))):
                r = size * rng.uniform(0.5, 1.0)
                x = u + (k - 2) * size * 0.85
                draw.ellipse((x - r, v - r, x + r, v + r * 0.55), fill=fill)
            draw.rectangle((u - 2.3 * size, v, u + 2.3 * size, v + size * 0.55), fill=fill)


def backdrop(
    draw: ImageDraw.ImageDraw, setting: Setting, width: int, horizon_v: float, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Draw hills or a skyline on the horizon, in one to three layers."""
    for layer in range(int(rng.integers(1, 4))):
        blend = 0.62 - 0.2 * layer
        height = width * float(rng.uniform(0.04, 0.2)) * (0.75 if layer else 1.0)
        city = setting.place == "city" or (setting.place == "suburb" and layer == 0)
        if city:
            _skyline(draw, setting, width, horizon_v, height * 1.6, blend, rng)
            continue
        base = (0.35, 0.48, 0.62) if setting.place == "coast" else pick(rng, GREENS)
        colour = _far(toned(base, 0.85), setting, blend)
        u = np.linspace(-2, width + 2, 30)
        waves = sum(np.sin(u / width * f + rng.uniform(0, 6.3)) / f for f in (4.0, 9.0, 23.0))
        v = horizon_v - height * (0.6 + 1.6 * np.asarray(waves))
        outline = [*zip(u.tolist(), v.tolist(), strict=True), (width + 2, horizon_v + 2), (-2, horizon_v + 2)]
        draw.polygon(outline, fill=colour)


def ground(canvas: Image.Image, setting: Setting, horizon_v: float, rng: np.random.Generator) -> Colour:
    """Fill the area below the horizon; return the colour of the ground."""
    base = SNOW if setting.snowy and rng.random() < 0.8 else pick(rng, _GROUNDS[setting.place])
    r, g, b = np.clip(np.array(base) + rng.normal(0, 0.025, 3), 0, 1)
    lit = np.array([r, g, b]) * (setting.light.sky_colour + 0.5 * setting.light.sun_colour)
    top = int(np.clip(np.ceil(horizon_v), 0, canvas.height))
    if top < canvas.height:
        near = np.clip((np.arange(top, canvas.height) - horizon_v) / (0.35 * canvas.height), 0, 1)[:, None] ** 0.6
        rows = setting.horizon * 0.45 * (1 - near) + lit * (0.55 + 0.45 * near)
        levels = np.clip(rows * 255, 0, 255).astype(np.uint8)
        below = Image.fromarray(levels[:, None]).resize((canvas.width, len(levels)), Image.Resampling.NEAREST)
        canvas.paste(below, (0, top))
    return float(r), float(g), float(b)


def strips(
    draw: ImageDraw.ImageDraw, camera: Camera, setting: Setting,
    spans: list[tuple[float, float, float, float]], colour: Colour,
) -> None:  # fmt: skip
    """Draw rectangles on the ground (x from, x to, y from, y to); parts too close to the camera are cut off."""
    corners = np.zeros((len(spans), 4, 3))
    limits = np.array(spans)
    corners[:, :, 0], corners[:, :, 1] = limits[:, (0, 1, 1, 0)], limits[:, (2, 2, 3, 3)]
    depths = (corners - camera.eye) @ camera.forward - (NEAR_M + 0.2)
    light = setting.light
    lit = np.array(colour) * (light.sky_colour + 0.5 * light.sun_colour)
    for corner, depth in zip(corners, depths, strict=True):
        outline = corner if depth.min() > 0 else _cut(corner, depth)
        if len(outline) < 3:
            continue
        pixels, distance = camera.project(outline)
        clear = float(np.exp(-distance.min() / light.haze_m))
        r, g, b = np.clip((lit * clear + light.haze_colour * (1 - clear)) * 255, 0, 255).astype(int).tolist()
        # Pillow is slow and inexact far outside the canvas
        draw.polygon(np.clip(pixels, -9000, 9000).ravel().tolist(), fill=(r, g, b))


def _cut(corners: Floats, depth: Floats) -> Floats:
    """Return the part of a polygon [n, 3] at positive depth [n]; empty if there is none."""
    visible = []
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        if depth[i] > 0:
            visible.append(corners[i])
        if depth[i] * depth[j] < 0:
            t = depth[i] / (depth[i] - depth[j])
            visible.append(corners[i] * (1 - t) + corners[j] * t)
    return np.array(visible)


def road(draw: ImageDraw.ImageDraw, camera: Camera, setting: Setting, rails: bool, rng: np.random.Generator) -> None:
    """Draw a road along the vehicle with kerbs and markings, or the rows of a field; with `rails`, also rails."""
    far = 160.0
    if setting.place == "field" and rng.random() < 0.75:
        soil = toned(pick(rng, _GROUNDS["field"]), float(rng.uniform(0.75, 0.9)))
        rows = [(-far, far, y, y + 1.4) for y in np.arange(-30, 30, 3.0).tolist()]
        strips(draw, camera, setting, rows, soil)
    else:
        _paved(draw, camera, setting, far, rng)
    if rails:
        strips(draw, camera, setting, [(-far, far, -1.15, 1.15)], (0.55, 0.53, 0.5))
        strips(draw, camera, setting, [(-far, far, y, y + 0.07) for y in (-0.74, 0.7)], (0.3, 0.3, 0.32))


def _paved(draw: ImageDraw.ImageDraw, camera: Camera, setting: Setting, far: float, rng: np.random.Generator) -> None:
    asphalt = pick(rng, ((0.42, 0.43, 0.45), (0.34, 0.35, 0.38), (0.52, 0.51, 0.5), (0.58, 0.52, 0.43)))
    asphalt = toned(asphalt, {"rain": 0.75, "snow": 1.5}.get(setting.weather, 1.0))
    side = 1.0 if rng.random() < 0.5 else -1.0
    low, high = sorted((-2.1 * side, 5.6 * side))
    if setting.place in ("city", "suburb"):
        strips(draw, camera, setting, [(-far, far, low - 2.6, high + 2.6)], (0.74, 0.72, 0.69))
        strips(draw, camera, setting, [(-far, far, low - 0.25, high + 0.25)], (0.86, 0.85, 0.82))
    strips(draw, camera, setting, [(-far, far, low, high)], asphalt)
    paint = (0.92, 0.91, 0.86) if rng.random() < 0.8 else (0.93, 0.77, 0.25)
    y0, y1 = sorted((1.7 * side, 1.85 * side))
    marks = [(x, x + 2.4, y0, y1) for x in np.arange(-30, 30, 5.0).tolist()]
    if rng.random() < 0.5:
        marks += [(-far, far, y, y + 0.14) for y in (low + 0.25, high - 0.4)]
    if rng.random() < 0.15:
        x = float(rng.uniform(3, 7)) * (1 if rng.random() < 0.5 else -1)
        marks += [(x, x + 2.6, y, y + 0.5) for y in np.arange(low + 0.3, high - 0.5, 0.95).tolist()]
    strips(draw, camera, setting, marks, paint)


def _skyline(
    draw: ImageDraw.ImageDraw, setting: Setting, width: int, horizon_v: float, height: float, blend: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    u = -float(rng.uniform(0, 0.1)) * width
    while u < width:
        building_width, top = width * float(rng.uniform(0.06, 0.16)), height * float(rng.uniform(0.4, 1.3))
        colour = _far(toned(pick(rng, WALLS), float(rng.uniform(0.6, 0.9))), setting, blend)
        draw.rectangle((u, horizon_v - top, u + building_width, horizon_v + 1), fill=colour)
        step = width * 0.022
        window = (246, 214, 138) if setting.night else _far(GLASS, setting, blend)
        for a in np.arange(u + step * 0.5, u + building_width - step * 0.6, step):
            for b in np.arange(horizon_v - top + step * 0.6, horizon_v - step, step * 1.3):
                if rng.random() < (0.35 if setting.night else 0.8):
                    draw.rectangle((a, b, a + step * 0.45, b + step * 0.6), fill=window)
        u += building_width * float(rng.uniform(0.9, 1.3))


def _far(colour: Colour, setting: Setting, blend: float) -> tuple[int, int, int]:
    lit = np.array(colour) * (setting.light.sky_colour + 0.35 * setting.light.sun_colour)
    r, g, b = np.clip((lit * (1 - blend) + setting.horizon * blend) * 255, 0, 255).astype(int).tolist()
    return r, g, b
