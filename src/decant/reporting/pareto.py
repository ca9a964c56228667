"""The figure for choosing a model: accuracy against latency, with the file's size as area."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from decant.reporting.plots import GREY, INK, KIND_STYLE, any_script, new_figure, plain_axes, plain_text, save

Box = tuple[float, float, float, float]  # left, bottom, right, top
SMALLEST_DISC, LARGEST_MORE = 25.0, 900.0  # points²: area for an empty file; additional area for the largest


def pareto(
    models: Sequence[str],
    kinds: Sequence[str],
    accuracy: Sequence[float],
    latency_ms: Sequence[float],
    size_mb: Sequence[float],
    path: Path,
    x_label: str = "p50 latency, ms",
    y_label: str = "accuracy",
    title: str = "",
) -> None:
    """Draw accuracy against latency (logarithmic) with file size as area, and the line of the undominated models."""
    figure = new_figure(4.4)
    ax = figure.subplots()
    areas = disc_areas(size_mb)
    front = pareto_front(accuracy, latency_ms)
    ax.plot(
        [latency_ms[i] for i in front],
        [accuracy[i] for i in front],
        color=GREY,
        linestyle=":",
        linewidth=1.4,
        zorder=1,
    )
    for kind, x, y, area in zip(kinds, latency_ms, accuracy, areas, strict=True):
        ax.scatter(x, y, s=area, color=KIND_STYLE[kind][0], alpha=0.75, edgecolor="white", linewidth=1, zorder=2)
        ax.scatter(x, y, s=9, color=INK, zorder=3)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = min(latency_ms), max(latency_ms)
    ax.set_xlim(low / 1.6, high * 1.7)
    span = max(max(accuracy) - min(accuracy), 0.01)
    ax.set_ylim(min(accuracy) - 0.2 * span, max(accuracy) + 0.45 * span)
    ax.set_xlabel(f"{x_label} (logarithmic; further left is better)")
    ax.set_ylabel(y_label)
    plain_axes(ax, grid="both")
    texts = [f"{plain_text(model)}\n{size:.3g} MB" for model, size in zip(models, size_mb, strict=True)]
    with any_script():
        place_labels(ax, texts, latency_ms, accuracy, np.sqrt(areas) / 2)
    save(figure, path, title)


def disc_areas(size_mb: Sequence[float]) -> npt.NDArray[np.float64]:
    """Area of each file's disc in points²: a visible minimum plus a part that is proportional to the size."""
    return SMALLEST_DISC + LARGEST_MORE * np.asarray(size_mb, dtype=float) / max(max(size_mb), 1e-9)


def pareto_front(accuracy: Sequence[float], latency_ms: Sequence[float]) -> list[int]:
    """Indices of the undominated models, fastest first: no other model is both as fast and as accurate."""
    order = sorted(range(len(accuracy)), key=lambda i: (latency_ms[i], -accuracy[i]))
    front: list[int] = []
    for position in order:
        if not front or accuracy[position] > accuracy[front[-1]]:
            front.append(position)
    return front


def place_labels(
    ax: Axes,
    texts: Sequence[str],
    x: Sequence[float],
    y: Sequence[float],
    radii_pt: npt.NDArray[np.float64],
) -> None:
    """Write each text beside its disc, where it covers the least; the last step of a figure. radii_pt: of the discs."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # this computes the final layout
    pixel = figure.dpi / 72
    halo = [withStroke(linewidth=2.5, foreground="white")]  # keeps text readable on the line of undominated models
    labels = [
        ax.annotate(
            text, at, (0, 0), textcoords="offset points", ha="center", va="center", fontsize=8.5, color=INK,
            linespacing=1.15, zorder=4, path_effects=halo,
        )
        for text, at in zip(texts, zip(x, y, strict=True), strict=True)
    ]  # fmt: skip
    extents = [label.get_window_extent() for label in labels]
    frame = ax.get_window_extent()
    centres = ax.transData.transform(np.column_stack([x, y]))
    boxes = label_boxes(
        centres,
        radii_pt * pixel,
        [(extent.width, extent.height) for extent in extents],
        (frame.x0, frame.y0, frame.x1, frame.y1),
    )
    for label, centre, box in zip(labels, centres, boxes, strict=True):
        middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
        right, up = (middle - centre) / pixel
        label.set_position((right, up))


def label_boxes(
    centres: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], sizes: Sequence[tuple[float, float]], frame: Box
) -> list[Box]:
    """A box for each text beside its disc, in pixels.

    centres: float64 [n, 2]. radii: float64 [n]. sizes: width and height of each text. Each box is placed on the one of
    eight sides where it covers the least area of discs and other boxes. There are two rounds, because the first boxes
    are placed before the others exist.
    """
    discs: list[Box] = [(cx - r, cy - r, cx + r, cy + r) for (cx, cy), r in zip(centres, radii, strict=True)]
    boxes: dict[int, Box] = {}
    for index in [*range(len(sizes))] * 2:
        others = discs + [box for other, box in boxes.items() if other != index]
        options = _boxes_around(centres[index], radii[index], *sizes[index])
        boxes[index] = min(options, key=lambda box: _covered(box, others, frame))
    return [boxes[index] for index in range(len(sizes))]


def _boxes_around(centre: npt.NDArray[np.float64], radius: float, width: float, height: float) -> list[Box]:
    """Possible boxes for a text of that size around a disc, the preferred side first, in pixels."""
    sides = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    boxes = []
    for right, up in sides:
        near = radius * (0.75 if right and up else 1.0)  # the corners around a disc are empty
        left = centre[0] + right * (near + width / 2 + 6) - width / 2
        bottom = centre[1] + up * (near + height / 2 + 4) - height / 2
        boxes.append((left, bottom, left + width, bottom + height))
    return boxes


def _covered(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """The area of `box` that overlaps `taken`, plus the area outside the frame."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_overlap(box, other) for other in taken) + area - _overlap(box, frame)


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)
