"""Pooling: the linear pool  p(k) = sum_m w_m p_m(k)  of calibrated members, and three methods for its weights.

Pooling reads predictions and runs no network, so changing a weight takes seconds. Weights are fitted on val, never
on test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decant.ensemble.calibration import apply_temperature, labelled_rows
from decant.errors import UserError, nearest

Floats = NDArray[np.floating[Any]]
Weights = NDArray[np.float64]  # [m], >= 0, sums to 1


def fit_weights(log_probabilities: Sequence[Floats], targets: NDArray[np.integer[Any]], method: str) -> Weights:
    """Weights of the members: float64 [m], not negative, summing to 1.

    log_probabilities: one [n, K] per member, already calibrated (apply_temperature). targets: int [n], -1 for a row
    without a label (left out; if no row has a label, the weights are equal). method: a key of METHODS. Raises
    UserError for an unknown method, ValueError for no members or shapes that do not match.
    """
    if method not in METHODS:
        raise UserError(f"unknown pooling method {method!r}; {nearest(str(method), list(METHODS))}")
    if not log_probabilities:
        raise ValueError("no members to pool")
    likelihoods = _relative_likelihoods(log_probabilities, targets)
    return METHODS[method](likelihoods)


def pool(
    log_probabilities: Sequence[Floats], weights: Sequence[float] | Weights, temperatures: Sequence[float]
) -> NDArray[np.float32]:
    """log sum_m w_m softmax(z_m / T_m): float32 [n, K] log-probabilities.

    log_probabilities: one [n, K] per member. A member of weight 0 is not read. Raises ValueError if the numbers of
    members, weights and temperatures differ, or if the weights are negative or do not sum to 1.
    """
    w = np.asarray(weights, dtype=np.float64)
    if not len(log_probabilities) == len(w) == len(temperatures):
        raise ValueError(f"{len(log_probabilities)} members, {len(w)} weights, {len(temperatures)} temperatures")
    if not (w >= 0).all() or abs(w.sum() - 1) > 1e-6:
        raise ValueError(f"weights must be at least 0 and sum to 1: {w.tolist()}")
    pooled: NDArray[np.float64] | None = None
    for scores, weight, temperature in zip(log_probabilities, w / w.sum(), temperatures, strict=True):
        if weight == 0:
            continue
        term = np.log(weight) + apply_temperature(np.asarray(scores, dtype=np.float64), temperature)
        if pooled is not None and term.shape != pooled.shape:
            raise ValueError(f"members differ in shape: {term.shape} and {pooled.shape}")
        pooled = term if pooled is None else np.logaddexp(pooled, term)  # one member in memory at a time
    assert pooled is not None  # the weights sum to 1, so one is above 0
    return pooled.astype(np.float32)


# ---- methods: float64 [n, m] likelihoods of the true class, rows scaled by any factor -> weights [m] ----


def _equal(likelihoods: NDArray[np.float64]) -> Weights:
    m = likelihoods.shape[1]
    return np.full(m, 1.0 / m)


def _convex(likelihoods: NDArray[np.float64], tolerance: float = 1e-7, steps: int = 2000) -> Weights:
    """argmax over the simplex of  sum_i log sum_m w_m p_im,  a concave problem, by EM for mixture weights.

    Each step  w_m <- w_m * g_m,  g_m = mean_i p_im / sum_j w_j p_ij,  cannot lower the likelihood (Dempster, Laird
    & Rubin 1977), so the result is never worse than equal weights, the starting point. By concavity the mean
    log-likelihood is within max_m g_m - 1 of its maximum, which is the stopping rule. EM approaches a weight of 0 but
    never reaches it: such members are removed at the end, so that they need not be run.
    """
    weights = _equal(likelihoods)
    for _ in range(steps if len(likelihoods) else 0):
        gain = (likelihoods / (likelihoods @ weights)[:, None]).mean(axis=0)
        if gain.max() - 1 < tolerance:
            break
        weights = weights * gain
    return _prune_useless(likelihoods, weights / weights.sum())


def _prune_useless(likelihoods: NDArray[np.float64], weights: Weights) -> Weights:
    """Set each weight to 0, the smallest first, if that does not lower the likelihood; the largest always stays."""
    for member in np.argsort(weights, kind="stable")[:-1] if len(likelihoods) else ():
        fewer = np.where(np.arange(len(weights)) == member, 0.0, weights)
        fewer /= fewer.sum()
        with np.errstate(divide="ignore", invalid="ignore"):  # the true class may have probability 0
            gain = np.log(likelihoods @ fewer).sum() - np.log(likelihoods @ weights).sum()
        if gain >= 0:
            weights = fewer
    return weights


def _greedy(likelihoods: NDArray[np.float64], steps: int = 50) -> Weights:
    """Ensemble selection with replacement (Caruana, Niculescu-Mizil, Crew & Ksikes 2004, section 2.1).

    Each step adds the member that gives the bag the lowest NLL (on ties the first). The weights are the counts in the
    best bag, so the result is never worse than the best single member.
    """
    n, m = likelihoods.shape
    if n == 0:
        return _equal(likelihoods)
    counts, total = np.zeros(m), np.zeros(n)
    best_counts, best_nll = counts, np.inf
    for size in range(1, steps + 1):
        with np.errstate(divide="ignore"):  # the true class may have probability 0 in a bag: NLL inf
            nll = -np.log((total[:, None] + likelihoods) / size).mean(axis=0)
        chosen = int(np.argmin(nll))
        counts = counts + np.eye(m)[chosen]
        total = total + likelihoods[:, chosen]
        if nll[chosen] < best_nll:
            best_counts, best_nll = counts, nll[chosen]
    if not np.isfinite(best_nll):
        return _equal(likelihoods)
    return best_counts / best_counts.sum()


METHODS: dict[str, Callable[[NDArray[np.float64]], Weights]] = {
    "equal": _equal,
    "convex": _convex,
    "greedy": _greedy,
}


def _relative_likelihoods(
    log_probabilities: Sequence[Floats], targets: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """p_m(y_i) for the labelled rows, [n', m], each row divided by its largest value to avoid underflow.

    A factor per row adds the same constant to the log-likelihood of every mixture, so no method depends on it.
    """
    columns = []
    for scores in log_probabilities:
        z, y = labelled_rows(scores, targets)
        normaliser = np.log(np.exp(z).sum(axis=1))
        columns.append(z[np.arange(len(y)), y] - normaliser)
    if len({len(column) for column in columns}) > 1:
        raise ValueError("members differ in their number of rows")
    logs = np.stack(columns, axis=1)
    return np.exp(logs - logs.max(axis=1, keepdims=True)) if len(logs) else logs
