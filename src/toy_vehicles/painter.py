"""A small low-poly renderer: camera, light, and solids that Pillow draws from far to near."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from toy_vehicles.solids import Floats, Item, Kind, Part

NEAR_M = 0.4  # items closer to the camera are not drawn


@dataclass(frozen=True)
class Camera:
    """A level camera with a shifted lens, so that vertical lines stay vertical.

    eye: float64 [3], in metres; forward, right: horizontal unit vectors; focal: focal length in pixels; u and v are
    pixel coordinates from the top left.
    """

    eye: Floats
    forward: Floats
    right: Floats
    focal: float = 1.0
    centre_u: float = 0.0
    horizon_v: float = 0.0

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Project float64 [n, 3] in metres; return pixels [n, 2] and the distance along the view [n]."""
        offset = points - self.eye
        depth = offset @ self.forward
        safe = np.maximum(depth, NEAR_M)
        u = self.centre_u + self.focal * (offset @ self.right) / safe
        v = self.horizon_v - self.focal * offset[:, 2] / safe
        return np.stack([u, v], axis=1), depth


@dataclass(frozen=True)
class Light:
    """sun: unit vector towards the light. Its colours multiply paint; haze is the colour of far items."""

    sun: Floats
    sun_colour: Floats
    sky_colour: Floats
    haze_colour: Floats
    haze_m: float  # at this distance the colour is two thirds haze


def relative_view(camera: Camera, light: Light, position: tuple[float, float], turned: bool) -> tuple[Camera, Light]:
    """Return camera and light relative to an object at `position` (x, y), turned by 180 degrees if `turned`.

    Moving one camera gives the same image as moving the many points of the object.
    """
    signs = np.array([-1.0, -1.0, 1.0]) if turned else np.ones(3)
    eye = (camera.eye - np.array([position[0], position[1], 0.0])) * signs
    relative_camera = replace(camera, eye=eye, forward=camera.forward * signs, right=camera.right * signs)
    return relative_camera, replace(light, sun=light.sun * signs)


def paint(draw: ImageDraw.ImageDraw, parts: list[Part], camera: Camera, light: Light) -> None:
    """Draw parts from far to near with flat shading and haze; back faces are skipped."""
    paint_in_order(draw, [item for p in back_to_front(parts, camera.eye) for item in p.items], camera, light)


def paint_in_order(draw: ImageDraw.ImageDraw, items: list[Item], camera: Camera, light: Light) -> None:
    """Draw items in the given order; back faces are skipped."""
    counts = np.array([len(item.points) for item in items])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    points = np.concatenate([item.points for item in items])
    pixels, depth = camera.project(points)
    nearest = np.minimum.reduceat(depth, starts)
    normals = _normals(points, starts, counts, np.array([item.outward for item in items]))
    centres = np.add.reduceat(points, starts) / counts[:, None]
    faces_eye = ((camera.eye - centres) * normals).sum(axis=1) > 0
    colours = _shaded(items, normals, nearest, light)
    for index, item in enumerate(items):
        if nearest[index] <= NEAR_M:
            continue
        first = starts[index]
        outline = pixels[first : first + counts[index]]
        colour = colours[index]
        if item.kind == Kind.STROKE:
            width = 2 * item.radius_m * camera.focal / float(depth[first : first + counts[index]].mean())
            _draw_stroke(draw, outline, width, colour)
        elif item.kind == Kind.BALL:
            _draw_ball(draw, outline[0], item.radius_m * camera.focal / float(depth[first]), colour, camera, light)
        elif faces_eye[index]:
            draw.polygon(outline.ravel().tolist(), fill=colour)


def _normals(points: Floats, starts: NDArray[np.intp], counts: NDArray[np.intp], outward: Floats) -> Floats:
    """Return unit normals [items, 3] by Newell's method, on the side of `outward`."""
    following = np.arange(1, len(points) + 1)
    following[starts + counts - 1] = starts
    normals = np.add.reduceat(np.cross(points, points[following]), starts)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    normals[(normals * outward).sum(axis=1) < 0] *= -1
    return normals


def _shaded(items: list[Item], normals: Floats, depth: Floats, light: Light) -> list[tuple[int, int, int]]:
    """Multiply paint by skylight (more from above) plus sunlight (Lambert's law), then blend with haze."""
    paint_colour = np.array([item.colour for item in items])
    kinds = np.array([item.kind for item in items])
    thin = kinds >= Kind.STROKE
    facing = np.where(thin, 0.45, np.clip(normals @ light.sun, 0, 1))[:, None]
    upward = np.where(thin, 0.0, normals[:, 2])[:, None]
    lit = paint_colour * ((0.82 + 0.18 * upward) * light.sky_colour + facing * light.sun_colour)
    lit[kinds == Kind.GLOW] = paint_colour[kinds == Kind.GLOW]
    clear = np.exp(-np.maximum(depth, 0) / light.haze_m)[:, None]
    levels = np.clip((lit * clear + light.haze_colour * (1 - clear)) * 255, 0, 255).astype(int)
    return [(r, g, b) for r, g, b in levels.tolist()]


def _draw_stroke(draw: ImageDraw.ImageDraw, outline: Floats, width: float, colour: tuple[int, int, int]) -> None:
    draw.line(outline.ravel().tolist(), fill=colour, width=max(1, round(width)), joint="curve")
    if width > 3:
        r = width / 2 - 0.5
        for u, v in (outline[0], outline[-1]):
            draw.ellipse((u - r, v - r, u + r, v + r), fill=colour)


def _draw_ball(
    draw: ImageDraw.ImageDraw, centre: Floats, radius: float, colour: tuple[int, int, int],
    camera: Camera, light: Light,
) -> None:  # fmt: skip
    """Draw a disc in shade and a smaller disc in light, shifted towards the sun."""
    u, v = centre
    shade = (int(colour[0] * 0.78), int(colour[1] * 0.78), int(colour[2] * 0.8))
    draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=shade)
    u, v, r = u + 0.22 * radius * float(light.sun @ camera.right), v - 0.2 * radius, 0.78 * radius
    draw.ellipse((u - r, v - r, u + r, v + r), fill=colour)


def back_to_front(parts: list[Part], eye: Floats) -> list[Part]:
    """Return the parts in an order in which no part is drawn over one in front of it.

    If a plane across an axis separates two boxes, the box on its far side cannot hide the other. Otherwise the distance
    of the centres decides.
    """
    low, high = np.stack([p.low for p in parts]), np.stack([p.high for p in parts])
    slack = 0.04
    below = (high[:, None] <= low[None] + slack) & (eye >= high[:, None] - slack)
    above = (low[:, None] >= high[None] - slack) & (eye <= low[:, None] + slack)
    harmless = (below | above).any(axis=2)  # [a, b]: a cannot hide b
    before = np.asarray(harmless & ~harmless.T)
    distance = np.linalg.norm((low + high) / 2 - eye, axis=1)
    waiting = list(np.argsort(-distance, kind="stable"))
    order = []
    while waiting:
        free = [i for i in waiting if not before[waiting, i].any()]
        chosen = free[0] if free else waiting[0]
        waiting.remove(chosen)
        order.append(parts[chosen])
    return order
