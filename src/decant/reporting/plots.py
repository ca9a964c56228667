"""Figures of results. Each function draws one figure and writes it as PNG, or as SVG at a path that ends in .svg.

The same values give the same bytes.

Colours are Okabe and Ito's (2008), which colour-blind people can distinguish; each kind of model keeps its colour and
marker in all figures.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
CYCLE, MARKERS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY), "osD^vP"
INK, GREY, FAINT = "#222222", "#777777", "#dddddd"
KIND_STYLE = {  # kind: colour, marker, name in a legend
    "teacher": (SKY, "o", "teacher"),
    "ensemble": (BLUE, "D", "ensemble"),
    "student_alone": (ORANGE, "v", "student alone"),
    "student": (PURPLE, "^", "student, PyTorch"),
    "student_onnx": (GREEN, "s", "student, ONNX"),
    "student_onnx_int8": (VERMILION, "P", "student, ONNX int8"),
}
WIDTH_IN = 7.6  # at 150 dpi slightly wider than a README's column, so that text is shown at about this size
DPI = 150
LONGEST_NAME = 28
MANY_CLASSES = 25  # with more, numbers do not fit into cells, nor names beside bars
MOST_NAMES = 60  # with more, names do not fit beside the rows of a matrix
LEAST_IMAGES = 5  # with fewer, the accuracy of a bin is noise
BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#b9d7ea", BLUE, "#08304f"])


def learning_curves(history: Mapping[str, Sequence[float]], path: Path, title: str = "") -> None:
    """Draw learning curves: one panel per metric, one line per split.

    Args:
        history: column → values. The columns are `epoch`, `loss` (on train) and `<split>_<metric>` with the splits
            train and val.

    Raises:
        ValueError: there is no column of a loss or metric, or these columns contain no numbers.
    """
    panels = metrics_by_split(history)
    if not panels:
        raise ValueError(f"no loss and no metric to draw among {', '.join(history)}")
    figure = new_figure(3.0)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (metric, columns) in zip(axes, panels.items(), strict=True):
        for split, column in columns.items():
            colour, line = {"train": (GREY, "--"), "val": (BLUE, "-")}.get(split, (ORANGE, "-."))
            values = np.asarray(history[column], dtype=float)
            finite = np.isfinite(values)
            epochs = np.asarray(history["epoch"], dtype=float)[finite]
            marker = "o" if finite.sum() <= 30 else None
            ax.plot(epochs, values[finite], line, color=colour, marker=marker, markersize=3.5, label=split)
        ax.set_xlabel("epoch")
        ax.set_title(metric.replace("_", " "), fontsize=10, color=INK)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        plain_axes(ax, grid="both")
        ax.legend(frameon=False, fontsize=9)
    save(figure, path, title)


STARTS = {True: (", random weights", "--"), False: (", pretrained", "-"), None: ("", "-")}  # text in a legend, line


def accuracy_by_minutes(
    courses: Mapping[str, Sequence[tuple[float, float]]], random: Mapping[str, bool], path: Path, title: str = ""
) -> None:
    """Draw the accuracy on val of several teachers against the minutes of training.

    Args:
        courses: teacher → (minutes, accuracy) after each epoch.
        random: teacher → True for random weights at the start (dashed), False for pretrained weights.
    """
    figure = new_figure(3.6)
    ax = figure.subplots()
    for index, (name, course) in enumerate(courses.items()):
        times, values = zip(*course, strict=True)
        start, line = STARTS[random.get(name)]
        ax.plot(times, values, line, color=CYCLE[index % len(CYCLE)], marker=MARKERS[index % len(MARKERS)],
                markersize=3.5, label=f"{plain_text(name)}{start}")  # fmt: skip
    ax.set_xlabel("minutes of training")
    ax.set_ylabel("accuracy on val")
    plain_axes(ax, grid="both")
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    save(figure, path, title)


def rate_range(rows: Sequence[Mapping[str, float]], suggested: float, path: Path, title: str = "") -> None:
    """Draw a learning-rate range test: the loss of each step, its smoothed course, and the suggested rate.

    Args:
        rows: with the keys `learning_rate`, `loss` and `smoothed`.
    """
    figure = new_figure(3.2)
    ax = figure.subplots()
    rates = [row["learning_rate"] for row in rows]
    ax.plot(rates, [row["loss"] for row in rows], ".", color=SKY, markersize=4, label="one step")
    ax.plot(rates, [row["smoothed"] for row in rows], color=BLUE, label="smoothed")
    ax.axvline(suggested, color=VERMILION, linestyle="--", label=f"suggested: {suggested:.1e}")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.5 * max(row["smoothed"] for row in rows[: len(rows) // 2 + 1]))
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    plain_axes(ax, grid="both")
    ax.legend(frameon=False, fontsize=9)
    save(figure, path, title)


def confusion_matrix(matrix: npt.NDArray[np.int64], classes: Sequence[str], path: Path, title: str = "") -> None:
    """Draw a confusion matrix: rows are targets, columns predictions; shades are shares of the row, numbers are images.

    Args:
        matrix: [K, K] counts.
    """
    count = len(classes)
    few = count <= MANY_CLASSES
    figure = new_figure(min(7.6, 2.6 + 0.42 * count) if few else 7.6, layout="compressed")
    ax = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # Without numbers, the shade must show mistakes: with the square root, 2 % of a row gets a shade of 14 %.
    shade = PowerNorm(1 if few else 0.5, vmin=0, vmax=1)
    image = ax.imshow(share, cmap=BLUES, norm=shade, aspect="equal")
    ax.set_xlabel("prediction")
    ax.set_ylabel("target")
    if count <= MOST_NAMES:
        _name_classes(ax, classes)
        ax.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        ax.grid(which="minor", color=FAINT, linewidth=0.6 if few else 0.3)
    else:
        ax.set_xlabel("prediction: number of the class, from 0, in the table's order")
    if few:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if share[row, column] > 0.45 else INK
            size = 9 if count <= 12 else 7 if count <= 16 else 5.5
            ax.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour, fontsize=size)
    ax.tick_params(which="both", length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=ax, fraction=0.04, pad=0.02, format=PercentFormatter(1, symbol=" %"))
    bar.set_label("share of the target", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)
    save(figure, path, title)


def _name_classes(ax: Axes, classes: Sequence[str]) -> None:
    """Write class names on both axes of a matrix: few are slanted, many are upright and small."""
    count = len(classes)
    names = [plain_text(name) for name in classes]
    size = 9 if count <= 16 else 8 if count <= MANY_CLASSES else 5.5
    slant: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(count), names, fontsize=size, **(slant if count <= 12 else {"rotation": 90}))
    ax.set_yticks(range(count), names, fontsize=size)


def precision_bars(
    models: Sequence[str],
    kinds: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    path: Path,
    label: str = "accuracy",
    title: str = "",
) -> None:
    """Draw a dot and its 95 % interval per model, in the given order from the top.

    Dots instead of bars: bars from zero hide the differences, and truncated bars exaggerate them.
    """
    figure = new_figure(1.0 + 0.36 * len(models))
    ax = figure.subplots()
    heights = np.arange(len(models))[::-1]
    for height, kind, value, (low, high) in zip(heights, kinds, values, intervals, strict=True):
        colour, marker, _ = KIND_STYLE[kind]
        ax.plot([low, high], [height, height], color=colour, linewidth=2.6, alpha=0.55, solid_capstyle="round")
        ax.plot(value, height, marker, color=colour, markersize=8, markeredgecolor="white", zorder=3)
        right_end = max(value, high) if np.isfinite(high) else value
        ax.annotate(
            f"{value:.3f}",
            (right_end, height),
            (7, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=9,
        )
    ax.set_yticks(heights, [plain_text(model) for model in models])
    ax.set_ylim(-0.7, len(models) - 0.3)
    ax.set_xlabel(f"{label}, with 95 % bootstrap interval")
    ax.margins(x=0.12)
    plain_axes(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    save(figure, path, title)


def reliability(bins: Mapping[str, Sequence[tuple[float, float, int]]], path: Path, title: str = "") -> None:
    """Draw accuracy against confidence with a line per model, and below it the number of images per bin.

    Args:
        bins: "kind" or "kind:model" → (confidence, accuracy, n) of each bin; empty bins have n = 0.
    """
    figure = new_figure(5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    for name, points in bins.items():
        kind = name.partition(":")[0]
        colour, marker, label = KIND_STYLE[kind]
        confidence, accuracy, n = np.array(points, dtype=float).T
        enough, some = n >= LEAST_IMAGES, n > 0
        above.plot(
            confidence[enough],
            accuracy[enough],
            marker=marker,
            color=colour,
            linewidth=1.6,
            markersize=6,
            markeredgecolor="white",
            label=plain_text(name.partition(":")[2] or label),
        )
        below.plot(confidence[some], n[some], marker=marker, color=colour, linewidth=1.2, markersize=4)
    above.set_ylabel(f"accuracy in bins of ≥ {LEAST_IMAGES} images")
    above.set_xlim(0, 1.02)
    above.set_ylim(0, 1.05)
    above.legend(frameon=False, fontsize=9, loc="lower right")
    below.set_yscale("log")
    below.yaxis.set_major_locator(LogLocator(numticks=4))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.yaxis.set_minor_locator(NullLocator())
    below.set_ylabel("images")
    below.set_xlabel("confidence: probability of the prediction")
    plain_axes(above, grid="both")
    plain_axes(below, grid="both")
    save(figure, path, title)


def class_balance(counts: Mapping[str, Mapping[str, int]], path: Path, title: str = "") -> None:
    """Draw a bar per class, stacked by split, the largest class first.

    Args:
        counts: split → class → images.
    """
    totals: dict[str, int] = {}
    for split_counts in counts.values():
        for name, images in split_counts.items():
            totals[name] = totals.get(name, 0) + images
    classes = sorted(totals, key=lambda name: (-totals[name], name))
    few = len(classes) <= MANY_CLASSES
    figure = new_figure(1.2 + 0.3 * len(classes) if few else 3.4)
    ax = figure.subplots()
    positions = np.arange(len(classes))
    start = np.zeros(len(classes), dtype=np.int64)
    colours = {"train": BLUE, "val": SKY, "test": ORANGE, "unlabelled": FAINT}
    for split, split_counts in counts.items():
        per_class = np.array([split_counts.get(name, 0) for name in classes])
        colour = colours.get(split, PURPLE)
        if few:
            ax.barh(positions, per_class, left=start, color=colour, edgecolor="white", linewidth=0.7, label=split)
        else:
            ax.bar(positions, per_class, bottom=start, color=colour, width=1.0, label=split)
        start += per_class
    if few:
        for position, name in zip(positions, classes, strict=True):
            ax.annotate(
                f"{totals[name]:,}",
                (totals[name], position),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        ax.set_yticks(positions, [plain_text(name) for name in classes])
        ax.invert_yaxis()
        ax.set_xlabel("images")
        ax.margins(x=0.09)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    else:
        ax.set_xlabel(f"{len(classes)} classes, by size")
        ax.set_ylabel("images")
        ax.margins(x=0.005)
    plain_axes(ax, grid="x" if few else "y")
    # Above the axes, where no bar can be under it.
    ax.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(counts), borderaxespad=0.2)
    save(figure, path, title)


def metrics_by_split(history: Mapping[str, Sequence[float]]) -> dict[str, dict[str, str]]:
    """metric → split → column, for at most three metrics, the loss first. Columns without numbers are left out."""
    panels: dict[str, dict[str, str]] = {"loss": {}}
    for column in history:
        metric, split = _metric_and_split(column)
        if metric and np.isfinite(np.asarray(history[column], dtype=float)).any():
            panels.setdefault(metric, {})[split] = column
    return dict([(metric, columns) for metric, columns in panels.items() if columns][:3])


def _metric_and_split(column: str) -> tuple[str, str]:
    """("accuracy", "val") for `val_accuracy`; ("", "") for a column that is neither loss nor metric."""
    if column == "loss":
        return "loss", "train"
    split, _, metric = column.partition("_")
    # Without label smoothing and soft labels, nll and the loss are the same quantity, so one panel shows both.
    return ("loss" if metric == "nll" else metric, split) if split in ("train", "val") else ("", "")


def new_figure(height_in: float, layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor="white", layout=layout)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    return figure


def plain_axes(ax: Axes, grid: str) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    ax.tick_params(colors=INK, labelsize=9)
    ax.set_axisbelow(True)
    ax.grid(axis=grid, color=FAINT, linewidth=0.7)  # type: ignore[arg-type]


def save(figure: Figure, path: Path, title: str) -> None:
    if title:
        figure.suptitle(title.replace("$", r"\$"), fontsize=11, color=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with any_script():
        if path.suffix == ".svg":
            with rc_context({"svg.hashsalt": path.stem}):
                figure.savefig(path, metadata={"Date": None, "Creator": None})
        else:
            figure.savefig(path, metadata={"Software": None})  # without matplotlib's version, for equal bytes


@contextmanager
def any_script() -> Iterator[None]:
    """Ignore warnings of missing glyphs: a class name may be in any script, and such a glyph is drawn as a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def plain_text(name: str) -> str:
    """A name as the user wrote it, on one line, at most 28 characters; `$` is escaped so that no formula starts."""
    line = " ".join(name.split())
    line = line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"
    return line.replace("$", r"\$")
