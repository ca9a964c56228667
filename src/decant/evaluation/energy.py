"""The energy of logits (Liu et al. 2020), by which images of no known class are refused. Needs only NumPy."""

import numpy as np
import numpy.typing as npt


def log_sums(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """log Σ exp(logit), [n, K] -> [n]: minus the energy with T = 1 (eq. 4). Low where an image is unlike train."""
    wide = np.asarray(logits, dtype=np.float64)
    highest = wide.max(axis=1, keepdims=True)
    return np.asarray(highest[:, 0] + np.log(np.exp(wide - highest).sum(axis=1)))
