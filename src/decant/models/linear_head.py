"""A head fitted to frozen features: all the training of a linear probe, and a starting point for fine-tuning.

A random head gives wrong gradients at first, which distort good features; a fitted head does not. The damage is largest
under distribution shift (Kumar, Raghunathan, Jones, Ma & Liang 2022, "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution").
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from decant.evaluation.scores import scores
from decant.models.probe import LinearProbe
from decant.models.regressions import Regressions
from decant.tracking import progress

VERSION = 2  # of what is fitted, for fingerprints. 2: a sweep over twelve decades, refined around the best
MAX_ROWS, ROWS_PER_CLASS = 10_000, 10  # a fit has at most MAX_ROWS images, or ROWS_PER_CLASS per class if more
DECADES = range(-6, 7, 2)  # decimal exponents of the strengths that are tried first
FINEST = 1 / 8  # decades between the strengths that are tried last
NO_FIT = -math.inf  # exponent of the strength 0: the given head itself


@dataclass(frozen=True)
class Tried:
    """A solution with its scores on val; the likelihood decides between equal values of the study's metric."""

    solution: np.ndarray
    val: dict[str, float]
    value: tuple[float, float]


def choose_probe(
    regressions: Regressions, val_features: np.ndarray, val_targets: np.ndarray, metric: str
) -> tuple[LinearProbe, list[dict[str, float]]]:
    """The probe whose strength is best on val, and the val scores of each strength that was tried, in their order.

    The search is that of Radford et al. (2021, A.3): from strengths of 1e-6 to 1e6, two decades apart, the interval
    around the best is halved until an eighth of a decade is left. A given head itself is the strength 0.
    val_features: float32 [n, D]. val_targets: int64 [n]. metric: a key of `scores`.
    """
    tried: dict[float, Tried] = {}
    if regressions.penalised.all():
        tried[NO_FIT] = scored(regressions, regressions.centre, val_features, val_targets, metric)
    for exponent in progress(strengths(tried), "regularisation", unit="strengths"):
        solution = regressions.solution(10.0**exponent, nearest_start(tried, exponent, regressions.centre))
        tried[exponent] = scored(regressions, solution, val_features, val_targets, metric)
    best = best_of(tried)
    rows = [
        {"strength": 10.0**exponent, **{f"val_{name}": round(value, 5) for name, value in tried[exponent].val.items()}}
        for exponent in sorted(tried)
    ]
    return regressions.probe(tried[best].solution, 10.0**best), rows


def strengths(tried: dict[float, Tried]) -> Iterator[float]:
    """Exponents to try, each chosen by what the caller has added to `tried` for those before it."""
    for exponent in DECADES:
        yield float(exponent)
        if len(tried) > 2 and is_past_the_best(tried):
            break  # weaker regularisation would be worse still, and slowest to fit
    step = float(DECADES.step)
    while step > FINEST:
        step /= 2
        peak = best_of({exponent: result for exponent, result in tried.items() if exponent != NO_FIT})
        yield from (finer for finer in (peak - step, peak + step) if DECADES[0] <= finer <= DECADES[-1])


def is_past_the_best(tried: dict[float, Tried]) -> bool:
    """True if both the metric and the likelihood of the last two strengths are below those of one before."""
    *earlier, before_last, last = [result.value for result in tried.values()]
    return any(all(value[i] > late[i] for late in (before_last, last) for i in (0, 1)) for value in earlier)


def best_of(tried: dict[float, Tried]) -> float:
    """The exponent with the best scores on val."""
    return max(tried, key=lambda exponent: tried[exponent].value)


def nearest_start(tried: dict[float, Tried], exponent: float, centre: np.ndarray) -> np.ndarray:
    """The solution of the next stronger regularisation; a fit from it takes few steps."""
    return tried[max(stronger)].solution if (stronger := [e for e in tried if e < exponent]) else centre


def scored(
    regressions: Regressions, solution: np.ndarray, features: np.ndarray, targets: np.ndarray, metric: str
) -> Tried:
    """The solution with its scores on val, in float32 as the network's head computes them."""
    weight, bias = regressions.probe(solution, 0.0).folded()
    val = scores(F.log_softmax(F.linear(torch.from_numpy(features), weight, bias), dim=1).numpy(), targets)
    return Tried(solution, val, rank(val, metric))


def rows_to_fit(rows: np.ndarray, targets: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """The rows to which a head is fitted: all, or a subsample of many, which bounds time and memory."""
    return subsample(rows, targets, max(MAX_ROWS, ROWS_PER_CLASS * classes), seed)


def rank(val: Mapping[str, float], metric: str) -> tuple[float, float]:
    """A key that is higher for better scores on val: the metric, then the likelihood."""
    return val[metric], -val["nll"]


def subsample(rows: np.ndarray, targets: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most `most` of the rows, in their given order; each class keeps its share, and at least one row."""
    if len(rows) <= most:
        return rows
    quantile = np.empty(len(rows))
    generator = np.random.default_rng(seed)
    for target in np.unique(targets):
        members = np.flatnonzero(targets == target)
        quantile[generator.permutation(members)] = np.arange(len(members)) / len(members)
    return rows[np.sort(np.argsort(quantile, kind="stable")[:most])]
