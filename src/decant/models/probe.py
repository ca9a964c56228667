"""Linear probe: a logistic regression on frozen features, written into the network's own head."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

ABSENT = -20.0  # bias of a class without examples


class LinearProbe:
    """Multinomial logistic regression on standardised features.

    Classes that are absent from the targets get logits far below the others. strength: scikit-learn's C.
    """

    mean: np.ndarray  # float64 [D], of the features
    scale: np.ndarray  # float64 [D], their standard deviation
    weight: np.ndarray  # float64 [classes, D], for standardised features
    bias: np.ndarray  # float64 [classes]

    def __init__(self, classes: int, strength: float) -> None:
        self.classes, self.strength = classes, strength

    def fit(self, features: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> "LinearProbe":
        """Fit to features float32 [n, D]; return the probe. targets: int64 [n] in [0, classes). weight: [n]."""
        self.mean, self.scale = mean_and_scale(features)
        regression = LogisticRegression(C=self.strength, max_iter=300, tol=1e-3)
        # One thread: the optimiser calls BLAS on short vectors, for which a second thread costs more than it saves.
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):
            # 300 steps are enough to rank the strengths; a separable problem never converges
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few images per class
            regression.fit((features - self.mean) / self.scale, targets, sample_weight=weight)
        if len(regression.classes_) == 2:  # scikit-learn stores one row for two classes
            half = regression.coef_[0] / 2, regression.intercept_[0] / 2
            coefficients, intercepts = np.stack([-half[0], half[0]]), np.array([-half[1], half[1]])
        else:
            coefficients, intercepts = regression.coef_, regression.intercept_
        return self.with_classes(regression.classes_, coefficients, intercepts)

    def with_classes(self, present: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> "LinearProbe":
        """The probe itself, with the weights [P, D] and biases [P] of the classes `present`; others are absent."""
        self.weight = np.zeros((self.classes, weight.shape[1]))
        self.bias = np.full(self.classes, ABSENT)
        self.weight[present], self.bias[present] = weight, bias
        return self

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The logits of features [n, D]: float64 [n, classes]."""
        return (features - self.mean) / self.scale @ self.weight.T + self.bias

    def folded(self) -> tuple[Tensor, Tensor]:
        """The standardisation and the regression as one layer for plain features: float32 [classes, D], [classes]."""
        weight = self.weight / self.scale
        return torch.from_numpy(weight).float(), torch.from_numpy(self.bias - weight @ self.mean).float()

    def write_into(self, head: nn.Linear) -> None:
        """Write the probe into a linear layer [classes, D]."""
        weight, bias = self.folded()
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def mean_and_scale(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, float64 [D]; the deviation is never 0."""
    return features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6
