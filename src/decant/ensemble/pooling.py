"""Pooling of calibrated members, followed by a temperature.

    linear      p(k) = sum_m w_m p_m(k)                   equal, convex and greedy weights
    log-linear  p(k) proportional to prod_m p_m(k)^w_m    weights of the highest likelihood

Pooling reads predictions and runs no network, so changing a weight takes seconds. All parameters are fitted on val,
never on test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from decant.ensemble.calibration import apply_temperature, fit_temperature, labelled_rows
from decant.errors import UserError, nearest

Floats = NDArray[np.floating[Any]]
Weights = NDArray[np.float64]  # [m], >= 0, sums to 1
LEAST_SHARE = 1e-3  # of a log-linear weight; a smaller one is 0, so that its member need not be run


@dataclass(frozen=True)
class Pool:
    """A fitted pool of m members. weights: sum to 1. temperatures: of each member. temperature: of their pool."""

    weights: list[float]
    temperatures: list[float]
    temperature: float
    log_linear: bool

    def of(self, log_probabilities: Sequence[Floats]) -> NDArray[np.float32]:
        """Log-probabilities float32 [n, K] of one [n, K] per member."""
        return pool(log_probabilities, self.weights, self.temperatures, self.temperature, log_linear=self.log_linear)


def fit_pool(log_probabilities: Sequence[Floats], targets: NDArray[np.integer[Any]], method: str) -> Pool:
    """The pool of the highest likelihood: the members' temperatures, then their weights, then the pool's temperature.

    log_probabilities: one [n, K] per member, not calibrated. targets, method and what is raised: as `fit_weights`. The
    mean of calibrated probabilities is not certain enough; the last temperature corrects that.
    """
    temperatures = [float(fit_temperature(values, targets)) for values in log_probabilities]
    calibrated = [apply_temperature(values, t) for values, t in zip(log_probabilities, temperatures, strict=True)]
    fitted = fit_weights(calibrated, targets, method)
    weights, log_linear = [float(weight) for weight in fitted], method == LOG_LINEAR
    pooled = pool(log_probabilities, weights, temperatures, log_linear=log_linear)
    return Pool(weights, temperatures, float(fit_temperature(pooled, targets)), log_linear)


def fit_weights(log_probabilities: Sequence[Floats], targets: NDArray[np.integer[Any]], method: str) -> Weights:
    """Weights of the members: float64 [m], not negative, summing to 1.

    log_probabilities: one [n, K] per member, already calibrated (apply_temperature). targets: int [n], -1 for a row
    without a label (left out; if no row has a label, the weights are equal). method: one of METHODS. Raises
    UserError for an unknown method, ValueError for no members or shapes that do not match.
    """
    if method not in METHODS:
        raise UserError(f"unknown pooling method {method!r}; {nearest(str(method), list(METHODS))}")
    if not log_probabilities:
        raise ValueError("no members to pool")
    if method == LOG_LINEAR:
        return _log_linear(log_probabilities, targets)
    return LINEAR[method](_relative_likelihoods(log_probabilities, targets))


def pool(
    log_probabilities: Sequence[Floats],
    weights: Sequence[float] | Weights,
    temperatures: Sequence[float],
    temperature: float = 1.0,
    *,
    log_linear: bool = False,
) -> NDArray[np.float32]:
    """Pooled log-probabilities, float32 [n, K], at the pool's `temperature`.

    linear: log sum_m w_m softmax(z_m / T_m); log-linear: log softmax of sum_m w_m log softmax(z_m / T_m).
    log_probabilities: one [n, K] per member. A member of weight 0 is not read. Raises ValueError if the numbers of
    members, weights and temperatures differ, or if the weights are negative or do not sum to 1.
    """
    w = np.asarray(weights, dtype=np.float64)
    if not len(log_probabilities) == len(w) == len(temperatures):
        raise ValueError(f"{len(log_probabilities)} members, {len(w)} weights, {len(temperatures)} temperatures")
    if not (w >= 0).all() or abs(w.sum() - 1) > 1e-6:
        raise ValueError(f"weights must be at least 0 and sum to 1: {w.tolist()}")
    combine, pooled = np.add if log_linear else np.logaddexp, None
    for scores, weight, t in zip(log_probabilities, w / w.sum(), temperatures, strict=True):
        if weight == 0:
            continue
        member = apply_temperature(np.asarray(scores, dtype=np.float64), t)
        term = weight * member if log_linear else np.log(weight) + member
        if pooled is not None and term.shape != pooled.shape:
            raise ValueError(f"members differ in shape: {term.shape} and {pooled.shape}")
        pooled = term if pooled is None else combine(pooled, term)  # one member in memory at a time
    assert pooled is not None  # the weights sum to 1, so one is above 0
    calibrated = apply_temperature(pooled, temperature) if log_linear or temperature != 1 else pooled
    return calibrated.astype(np.float32)


# ---- the linear pool: float64 [n, m] likelihoods of the true class, rows scaled by any factor -> weights [m] ----


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


LINEAR: dict[str, Callable[[NDArray[np.float64]], Weights]] = {
    "equal": _equal,
    "convex": _convex,
    "greedy": _greedy,
}
LOG_LINEAR = "log_linear"
METHODS = (*LINEAR, LOG_LINEAR)


# ---- the log-linear pool ----


def _log_linear(log_probabilities: Sequence[Floats], targets: NDArray[np.integer[Any]]) -> Weights:
    """argmin of the NLL of softmax(sum_m w_m z_m) over w >= 0 (Heskes 1998), then scaled to a sum of 1.

    The NLL is convex in w. The sum of w, an inverse temperature, is fitted again by `fit_pool`; here it has the prior
    of `fit_temperature`, so that it stays finite where val has no error.
    """
    rows = [labelled_rows(values, targets) for values in log_probabilities]
    if len({z.shape for z, _ in rows}) > 1:
        raise ValueError("members differ in their number of rows or classes")
    z, y = np.stack([z for z, _ in rows]), rows[0][1]  # [m, n, K]
    if not len(y):
        return _equal(np.empty((0, len(z))))
    true = z[:, np.arange(len(y)), y]  # [m, n]

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.tensordot(w, z, axes=1)
        total = max(float(w.sum()), 1e-12)
        nll = -log_softmax(mixed, axis=1)[np.arange(len(y)), y].sum()
        slope = (z * softmax(mixed, axis=1)).sum(axis=(1, 2)) - true.sum(axis=1)
        return float(nll + total - np.log(total)), slope + 1 - 1 / total

    fit = minimize(loss, np.full(len(z), 1 / len(z)), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(z))
    weights = np.where(fit.x < LEAST_SHARE * fit.x.sum(), 0.0, fit.x)
    return weights / weights.sum()


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
