"""The energy of logits (Liu et al. 2020), by which images that show no class are refused. Needs only NumPy."""

import numpy as np
import numpy.typing as npt


def log_sums(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """log Σ exp(logit), [n, K] -> [n]: minus the energy with T = 1 (eq. 4). Low for an image unlike train."""
    float64_logits = np.asarray(logits, dtype=np.float64)
    highest = float64_logits.max(axis=1, keepdims=True)
    return np.asarray(highest[:, 0] + np.log(np.exp(float64_logits - highest).sum(axis=1)))
