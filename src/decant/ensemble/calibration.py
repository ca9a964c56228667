"""Temperature scaling (Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2).

    p_T(k) = softmax(z / T)_k,    T = argmin over val of  -sum_i log p_T(y_i)

Logits and log-probabilities are both accepted: they differ by a constant per row, which the softmax removes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

Floats = NDArray[np.floating[Any]]

# The logarithm used for a probability of exactly 0: just below that of the smallest positive float32.
_LOG_OF_ZERO = -104.0


def fit_temperature(
    log_probabilities: Floats,
    targets: NDArray[np.integer[Any]],
    low: float = 0.05,
    high: float = 20.0,
    *,
    prior: float = 1.0,
) -> float:
    """The temperature in [low, high] that minimises the negative log-likelihood.

    log_probabilities: [n, K], or logits. targets: [n] class indices, -1 where there is no label (left out). prior:
    weight, in rows, of the prior that T = 1; 0 gives the paper's plain minimum. In beta = 1/T the penalty is prior
    * (beta - log beta), a gamma density with its mode at 1. On hundreds of rows it changes the fit by less than the
    fit's own error. It matters if val is tiny or has no classification error: the plain minimum is then `low`, which
    makes every prediction certain. Without rows, T = 1. Raises ValueError for NaN, for targets outside [-1, K)
    and for shapes that do not match.
    """
    z, y = labelled_rows(log_probabilities, targets)
    if len(y) == 0:
        return float(np.clip(1.0, low, high))
    true = z[np.arange(len(y)), y]

    def slope(log_beta: float) -> float:
        # d/dbeta of the penalised NLL, convex in beta: the sum of E_p[z] - z_y, and the prior's 1 - 1/beta.
        beta = np.exp(log_beta)
        expected = np.sum(np.exp(log_softmax(beta * z, axis=1)) * z, axis=1)
        return float(np.sum(expected - true) + prior * (1.0 - 1.0 / beta))

    coldest, hottest = -np.log(low), -np.log(high)
    if slope(coldest) <= 0.0:
        return low
    if slope(hottest) >= 0.0:
        return high
    return float(np.exp(-brentq(slope, hottest, coldest, xtol=1e-10)))


def apply_temperature(log_probabilities: Floats, temperature: float) -> Floats:
    """log softmax(z / T) over the last axis: same shape and float type, rows sum to 1.

    log_probabilities: [..., K], or logits; -inf stays -inf. Raises ValueError unless T is finite and positive.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature must be a finite number above 0, not {temperature!r}")
    scores = np.asarray(log_probabilities)
    calibrated = log_softmax(scores.astype(np.float64) / temperature, axis=-1)
    return calibrated.astype(scores.dtype if scores.dtype.kind == "f" else np.float64)


def labelled_rows(
    log_probabilities: Floats, targets: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The labelled rows for a fit: float64 [n', K], shifted to a maximum of 0 per row, and int64 [n'].

    Probabilities of exactly 0 become about the smallest positive float32. Raises ValueError as `fit_temperature`
    does.
    """
    z, y = np.asarray(log_probabilities, dtype=np.float64), np.asarray(targets)
    if z.ndim != 2 or y.shape != z.shape[:1]:
        raise ValueError(f"expected [n, K] scores and [n] targets, got {z.shape} and {y.shape}")
    if y.size and (y.dtype.kind not in "iu" or y.min() < -1 or y.max() >= z.shape[1]):
        raise ValueError(f"targets must be class indices from -1 to {z.shape[1] - 1}")
    z, y = z[y >= 0], y[y >= 0].astype(np.int64)
    if np.isnan(z).any() or np.isposinf(z).any() or np.isneginf(z).all(axis=1).any():
        raise ValueError("scores contain NaN, +inf or rows of -inf only")
    z = z - z.max(axis=1, keepdims=True)
    return np.where(np.isneginf(z), np.minimum(_LOG_OF_ZERO, z.min(initial=0.0, where=np.isfinite(z))), z), y
