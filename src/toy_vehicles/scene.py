"""Draws one clean image: a vehicle of a class in its surroundings, from random numbers."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from toy_vehicles import objects, surroundings
from toy_vehicles.cars import car, pickup, van
from toy_vehicles.heavy import bus, tram, truck
from toy_vehicles.machines import excavator, tractor
from toy_vehicles.painter import Camera, paint, paint_in_order, relative_view
from toy_vehicles.settings import Setting, choose_setting
from toy_vehicles.solids import Floats, Kind, Part, all_points
from toy_vehicles.two_wheelers import bicycle, motorcycle

_BUILDERS: dict[str, Callable[[np.random.Generator, bool], list[Part]]] = {
    "car": car, "truck": truck, "bus": bus, "motorcycle": motorcycle, "van": van,
    "bicycle": bicycle, "pickup": pickup, "tram": tram, "tractor": tractor, "excavator": excavator,
}  # fmt: skip
CLASSES: tuple[str, ...] = tuple(_BUILDERS)
"""Class names from the most to the least frequent."""

# the camera's bearing in degrees (0: in front of the vehicle, 90: at its left): mean, deviation, probability
_BEARINGS = (
    (90.0, 12.0, 0.28),
    (55.0, 14.0, 0.3),
    (18.0, 12.0, 0.18),
    (128.0, 14.0, 0.17),
    (172.0, 10.0, 0.07),
)


def draw(
    label: str, rng: np.random.Generator, width_px: int, height_px: int, *, supersampling: int = 3,
    easy: bool = False,
) -> Image.Image:  # fmt: skip
    """Draw an image (RGB, width_px x height_px) of a vehicle of class `label`.

    The image depends only on the arguments. easy: clear weather, nothing in front, the whole vehicle in the frame;
    otherwise there may be rain, snow, fog, poles, bushes and other vehicles.
    Raises KeyError for an unknown label.
    """
    width, height = width_px * supersampling, height_px * supersampling
    eye, forward, right = _viewpoint(rng)
    setting = choose_setting(rng, forward, right, easy)
    lit = setting.night or setting.hour == "sunset"
    parts = _BUILDERS[label](rng, lit)
    points = all_points(parts)
    camera = _aimed(points, eye, forward, right, width, height, easy, rng)
    canvas = _background(camera, setting, label, width, height, easy, rng)
    _cast_shadow(canvas, points, camera, setting)
    pen = ImageDraw.Draw(canvas)
    paint(pen, parts, camera, setting.light)
    if not easy:
        _in_front(pen, camera, setting, np.ptp(points, axis=0), rng)
    if lit:
        canvas = _with_bloom(canvas, parts, camera)
    canvas = _with_weather(canvas, setting, rng)
    image = canvas.reduce(supersampling)
    return _graded(image, easy, rng)


def _viewpoint(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return the camera's direction from the vehicle: eye (distance 1, height 0), forward, right."""
    chances = np.array([row[2] for row in _BEARINGS])
    middle, spread, _ = _BEARINGS[int(rng.choice(len(_BEARINGS), p=chances))]
    bearing = np.radians(rng.normal(middle, spread)) * (1 if rng.random() < 0.5 else -1)
    eye = np.array([np.cos(bearing), np.sin(bearing), 0.0])
    return eye, -eye, np.array([-eye[1], eye[0], 0.0])


def _aimed(
    points: Floats, eye: Floats, forward: Floats, right: Floats, width: int, height: int, easy: bool,
    rng: np.random.Generator,
) -> Camera:  # fmt: skip
    """Return a camera that shows the vehicle at a random size and position in the frame."""
    size = np.ptp(points, axis=0)
    distance = size[0] * float(rng.uniform(0.9, 2.2)) + 3.0
    level = float(rng.uniform(1.2, 2.4) if rng.random() < 0.65 else rng.uniform(2.4, 5.5))
    level = min(level, 0.34 * distance) if size[2] > 1.3 else min(level, 0.22 * distance + 0.5)
    middle = np.array([points[:, 0].mean(), 0.0, 0.0])
    camera = Camera(middle + eye * distance + np.array([0.0, 0.0, level]), forward, right)
    outline, _ = camera.project(points)
    low, high = outline.min(axis=0), outline.max(axis=0)
    span = high - low
    fill = float(rng.uniform(0.72, 0.86) if easy else rng.uniform(0.55, 0.98))
    focal = fill * float(min(width / span[0], height / span[1]))
    if not easy and rng.random() < 0.08:
        focal *= 1.3  # the frame may cut the vehicle
    room = np.array([width, height]) - focal * span
    shift = rng.uniform(-0.5, 0.5, 2) * np.abs(room) * (0.25 if easy else 0.8)
    centre = np.array([width / 2, height * (0.54 if easy else 0.52)]) + shift
    offset = centre - focal * (low + high) / 2
    return replace(camera, focal=focal, centre_u=float(offset[0]), horizon_v=float(offset[1]))


def _background(
    camera: Camera,
    setting: Setting,
    label: str,
    width: int,
    height: int,
    easy: bool,
    rng: np.random.Generator,
) -> Image.Image:
    canvas = surroundings.sky(setting, width, camera.horizon_v, height)
    pen = ImageDraw.Draw(canvas)
    if camera.horizon_v > 0:
        surroundings.celestial(pen, setting, width, camera.horizon_v, rng)
        surroundings.backdrop(pen, setting, width, camera.horizon_v, rng)
    surroundings.ground(canvas, setting, camera.horizon_v, rng)
    rails = rng.random() < (0.75 if label == "tram" else 0.08)
    surroundings.road(pen, camera, setting, rails, rng)
    scenery = objects.scenery(setting, camera, rng)
    scenery.sort(key=lambda parts: -float(((parts[0].low + parts[0].high) / 2 - camera.eye) @ camera.forward))
    items = [item for parts in scenery for part in parts for item in part.items]
    if items:
        paint_in_order(pen, items, camera, setting.light)
    if rng.random() < (0.12 if easy else 0.3):
        _another_vehicle(pen, camera, setting, rng)
    if rng.random() < 0.25:
        canvas = canvas.filter(ImageFilter.BoxBlur(width * float(rng.uniform(0.003, 0.009))))
    return canvas


def _another_vehicle(pen: ImageDraw.ImageDraw, camera: Camera, setting: Setting, rng: np.random.Generator) -> None:
    """Draw a vehicle of any class on the far side of the road, partly hidden or cut by the frame."""
    label = CLASSES[int(rng.integers(len(CLASSES)))]
    away = -1.0 if camera.eye[1] > 0 else 1.0
    along = -float(np.sign(camera.eye[0])) * float(rng.uniform(3, 14))
    position = (along, away * float(rng.uniform(4.2, 6.0)))
    relative_camera, light = relative_view(camera, setting.light, position, bool(rng.random() < 0.5))
    paint(pen, _BUILDERS[label](rng, setting.night), relative_camera, light)


def _cast_shadow(canvas: Image.Image, points: Floats, camera: Camera, setting: Setting) -> None:
    """Draw the shadow: the hull of the vehicle projected along the light, and a darker one below the vehicle."""
    scale = 3
    mask = Image.new("L", (canvas.width // scale, canvas.height // scale), 0)
    pen = ImageDraw.Draw(mask)
    sun = setting.light.sun
    strength = float(np.clip(setting.light.sun_colour.mean() * 1.1, 0.12, 0.6))
    projected = points - points[:, 2:] * sun / max(float(sun[2]), 0.35)
    below = points[points[:, 2] < 0.7]
    for flat, level in ((projected, strength), (below, 0.6)):  # the darker shadow last, over the other
        outline, depth = camera.project(flat * np.array([1.0, 1.0, 0.0]))
        hull = _hull(outline[depth > 0.5] / scale)
        if len(hull) > 2:
            pen.polygon(hull.ravel().tolist(), fill=int(level * 255))
    mask = mask.filter(ImageFilter.BoxBlur(max(1.0, mask.width * 0.012)))
    canvas.paste((14, 17, 34), (0, 0), mask.resize(canvas.size, Image.Resampling.BILINEAR))


def _hull(points: Floats, directions: int = 28) -> Floats:
    """Return the farthest points in evenly spaced directions: an approximate convex hull."""
    if len(points) == 0:
        return points
    angles = np.arange(directions) * (2 * np.pi / directions)
    farthest = np.argmax(points @ np.stack([np.cos(angles), np.sin(angles)]), axis=0)
    hull: Floats = points[farthest]
    return hull


def _in_front(
    pen: ImageDraw.ImageDraw, camera: Camera, setting: Setting, extent: Floats, rng: np.random.Generator
) -> None:
    """Draw an object between camera and vehicle, in about a third of the images."""
    chance = rng.random()
    if chance > 0.36:
        return
    near = float(rng.uniform(0.3, 0.6))
    reach = np.hypot(camera.eye[0], camera.eye[1]) * near
    across = camera.right * float(rng.uniform(-0.42, 0.42)) * min(float(extent[0]), 5.0)
    spot = -camera.forward * reach + across
    position = (float(spot[0]), float(spot[1]))
    height = float(extent[2]) * (1 - near)  # an object of this height hides the vehicle from wheels to roof
    if chance < 0.1:
        parts = objects.lamp_post(position, setting.night)
    elif chance < 0.18:
        parts = objects.sign_post(position, rng)
    elif chance < 0.3:
        parts = objects.bush(position, setting, rng, height * float(rng.uniform(0.3, 0.55)))
    elif chance < 0.33:
        parts = objects.tree(position, setting, rng, 0.33 * height)
    else:
        parts = objects.fence(position[0] - 4, position[0] + 4, position[1], rng)
    paint(pen, parts, camera, setting.light)


def _with_bloom(canvas: Image.Image, parts: list[Part], camera: Camera) -> Image.Image:
    """Add a glow around lit lamps."""
    scale = 3
    layer = Image.new("RGB", (canvas.width // scale, canvas.height // scale))
    pen = ImageDraw.Draw(layer)
    for item in (item for part in parts for item in part.items if item.kind == Kind.GLOW):
        centre = item.points.mean(axis=0)
        if (camera.eye - centre) @ np.asarray(item.outward) <= 0:
            continue
        (pixel,), _ = camera.project(centre[None])
        u, v, r = pixel[0] / scale, pixel[1] / scale, layer.width * 0.035
        colour = tuple(int(255 * c) for c in item.colour)
        pen.ellipse((u - r, v - r, u + r, v + r), fill=colour)
    glow = layer.filter(ImageFilter.GaussianBlur(layer.width * 0.035)).resize(canvas.size, Image.Resampling.BILINEAR)
    return ImageChops.screen(canvas, glow)


def _with_weather(canvas: Image.Image, setting: Setting, rng: np.random.Generator) -> Image.Image:
    """Add fog, streaks of rain or flakes of snow."""
    if setting.weather == "clear":
        return canvas
    r, g, b = np.clip(setting.horizon * 255, 0, 255).astype(int).tolist()
    veil = {"fog": rng.uniform(0.15, 0.38), "rain": 0.1, "snow": 0.08}[setting.weather]
    canvas = Image.blend(canvas, Image.new("RGB", canvas.size, (r, g, b)), float(veil))
    if setting.weather == "fog":
        return canvas
    layer = canvas.copy()
    pen = ImageDraw.Draw(layer)
    count = int(rng.integers(40, 90))
    us, vs = rng.uniform(0, canvas.width, count).tolist(), rng.uniform(-5, canvas.height, count).tolist()
    if setting.weather == "rain":
        slant, fall = float(rng.uniform(-0.25, 0.25)), canvas.height * 0.07
        for u, v in zip(us, vs, strict=True):
            pen.line((u, v, u + slant * fall, v + fall), fill=(225, 232, 240), width=1)
        return Image.blend(canvas, layer, 0.6)
    for u, v in zip(us, vs, strict=True):
        radius = canvas.width * 0.004 * (1 + v % 2.0)
        pen.ellipse((u - radius, v - radius, u + radius, v + radius), fill=(250, 251, 253))
    return Image.blend(canvas, layer, 0.85)


def _graded(image: Image.Image, easy: bool, rng: np.random.Generator) -> Image.Image:
    """Vary exposure, colour cast, vignette, grain and sharpness, as different cameras do."""
    if not easy and rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.8))))
    pixels = np.asarray(image, dtype=np.float32) / 255
    strength = 0.35 if easy else 1.0
    gain = np.exp(rng.normal(0, 0.13) * strength) * np.exp(rng.normal(0, 0.05, 3) * strength)
    pixels = np.clip(pixels * gain.astype(np.float32), 0, 1) ** np.float32(np.exp(rng.normal(0.02, 0.12) * strength))
    if rng.random() < 0.4:
        y, x = np.linspace(-1, 1, image.height), np.linspace(-1, 1, image.width)
        fall = 1 - float(rng.uniform(0.05, 0.22)) * (x[None, :] ** 2 + y[:, None] ** 2) / 2
        pixels = pixels * fall[..., None].astype(np.float32)
    grain = float(rng.uniform(0.0, 0.006 if easy else 0.025))
    pixels = pixels + grain * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8))
