"""The ensemble's weights as its file contains them."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from decant.ensemble.pooling import LOG_LINEAR


@dataclass(frozen=True)
class Weights:
    """How the teachers are pooled, in the study's order.

    weights: sum to 1. temperatures: of predictions, the means over TTA members and folds. view_temperatures: of soft
    labels, which one model gives for one view. temperature, view_temperature: of the pools of both. log_linear: the
    kind of pool.
    """

    names: list[str]
    weights: list[float]
    temperatures: list[float]
    view_temperatures: list[float]
    temperature: float = 1.0
    view_temperature: float = 1.0
    log_linear: bool = False


def read_weights(folder: Path) -> Weights:
    """Read `weights.json` of the stage ensemble; rounded weights are made to sum to 1 again."""
    content = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
    teachers = content["teachers"]
    rows = list(teachers.values())
    weights = np.array([row["weight"] for row in rows])
    temperatures, view_temperatures = ([row[key] for row in rows] for key in ("temperature", "view_temperature"))
    of_pool = content["temperature"], content["view_temperature"], content["pooling"] == LOG_LINEAR
    return Weights(list(teachers), list(weights / weights.sum()), temperatures, view_temperatures, *of_pool)


def weights_of(weights: Weights, names: Collection[str]) -> Weights:
    """The same weights for these teachers alone, in this order; the others must have no weight."""
    rows = [weights.names.index(name) for name in names]

    def chosen(column: list[float]) -> list[float]:
        return [column[row] for row in rows]

    return replace(
        weights,
        names=list(names),
        weights=chosen(weights.weights),
        temperatures=chosen(weights.temperatures),
        view_temperatures=chosen(weights.view_temperatures),
    )


def active_teachers(weights: Weights) -> list[str]:
    """The teachers whose weight is above zero."""
    return [name for name, weight in zip(weights.names, weights.weights, strict=True) if weight > 0]
