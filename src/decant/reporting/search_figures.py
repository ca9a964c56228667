"""Figures of a search for settings: the metric of each trial, and the importance of each key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from decant.reporting.plots import BLUE, FAINT, GREY, ORANGE, SKY, new_figure, plain_axes, save


@dataclass(frozen=True)
class Point:
    """A trial. value: its metric on val. finished: False for a pruned trial. Trial 0 is the recipe."""

    number: int
    value: float
    finished: bool


def search_history(
    points: Sequence[Point], label: str, standard_error: float | None, path: Path, title: str = ""
) -> None:
    """Draw the value of each trial, the best value so far, and the recipe's value with one standard error either way.

    points: at least one finished trial. Pruned trials below the axis are drawn at its edge.
    """
    finished = sorted((point for point in points if point.finished), key=lambda point: point.number)
    others = [point for point in points if not point.finished]
    numbers, values = [point.number for point in finished], np.array([point.value for point in finished])
    figure = new_figure(3.4)
    ax = figure.subplots()
    if finished[0].number == 0:
        if standard_error:
            band = (values[0] - standard_error, values[0] + standard_error)
            ax.axhspan(*band, color=FAINT, alpha=0.6, linewidth=0, label="± 1 standard error")
        ax.axhline(values[0], color=ORANGE, linewidth=1.4, linestyle="--", label="the recipe itself")
    ends = [*numbers, max(point.number for point in points) + 0.5]
    best = np.maximum.accumulate(values)
    ax.step(ends, [*best, best[-1]], where="post", color=BLUE, linewidth=1.6, label="best so far")
    ax.plot(numbers, values, "o", color=SKY, markersize=6, markeredgecolor="white", label="finished trial")
    low, high = ax.get_ylim()
    if others:
        heights = [max(point.value, low) for point in others]
        ax.plot([point.number for point in others], heights, "x", color=GREY, markersize=6, clip_on=False,
                label="pruned trial, at its last epoch")  # fmt: skip
    ax.set_ylim(low, high)
    ax.set_xlabel("trial")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    plain_axes(ax, grid="y")
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    save(figure, path, title)


def importance_bars(shares: Mapping[str, float], quantity: str, path: Path, title: str = "") -> None:
    """Draw a bar per key, the most important first.

    shares: key -> share of the variance that it explains. quantity: whose variance it is, for the axis.
    """
    keys = sorted(shares, key=lambda key: (-shares[key], key))
    figure = new_figure(1.0 + 0.34 * len(keys))
    ax = figure.subplots()
    positions = np.arange(len(keys))
    ax.barh(positions, [shares[key] for key in keys], color=BLUE, height=0.6)
    for position, key in zip(positions, keys, strict=True):
        ax.annotate(f"{shares[key]:.2f}", (shares[key], position), (4, 0), textcoords="offset points",
                    va="center", fontsize=9)  # fmt: skip
    ax.set_yticks(positions, keys)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * max(shares.values()) or 1)  # room for the numbers
    ax.set_xlabel(f"share of the variance in {quantity} (fANOVA)")
    plain_axes(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    save(figure, path, title)
