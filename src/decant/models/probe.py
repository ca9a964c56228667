"""Linear probe: a logistic regression on frozen features, written into the network's own head."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

REGULARISATION = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # scikit-learn's C; the best on val is used


class LinearProbe:
    """Multinomial logistic regression on standardised features (L-BFGS, as in Radford et al. 2021, A.3).

    Classes that are absent from the targets get logits far below the others.
    """

    def __init__(self, classes: int, strength: float) -> None:
        self.classes, self.strength = classes, strength

    def fit(self, features: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> "LinearProbe":
        """features: float32 [n, D]. targets: int64 [n] in [0, classes). weight: [n], sample weights."""
        self.mean = features.mean(axis=0, dtype=np.float64)
        self.scale = features.std(axis=0, dtype=np.float64) + 1e-6
        regression = LogisticRegression(C=self.strength, max_iter=300, tol=1e-3)
        # One thread: the optimiser calls BLAS on short vectors, for which a second thread costs more than it saves.
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):
            # 300 steps are enough to rank the strengths; a separable problem never converges
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few images per class
            regression.fit((features - self.mean) / self.scale, targets, sample_weight=weight)
        self.weight = np.zeros((self.classes, features.shape[1]))
        self.bias = np.full(self.classes, -20.0)
        if len(regression.classes_) == 2:  # scikit-learn stores one row for two classes
            half = regression.coef_[0] / 2, regression.intercept_[0] / 2
            coefficients, intercepts = np.stack([-half[0], half[0]]), np.array([-half[1], half[1]])
        else:
            coefficients, intercepts = regression.coef_, regression.intercept_
        self.weight[regression.classes_] = coefficients
        self.bias[regression.classes_] = intercepts
        return self

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float64 [n, classes]."""
        return (features - self.mean) / self.scale @ self.weight.T + self.bias

    def write_into(self, head: nn.Linear) -> None:
        """Write the standardisation and the regression into a linear layer [classes, D], as one matrix and bias."""
        weight = self.weight / self.scale
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight))
            head.bias.copy_(torch.from_numpy(self.bias - weight @ self.mean))
