"""Logistic regressions of several strengths on the same features, by L-BFGS, in bounded memory and time.

The objective is scikit-learn's, computed in float32 for a piece of the rows at a time, so that thousands of classes
need no matrix [n, K]. A fit may start from another fit's solution, and may be regularised towards a given head.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from decant.models.probe import LinearProbe, mean_and_scale

PIECE = 4_000_000  # logits that are computed at a time
MAX_ITERATIONS, MIN_ITERATIONS = 300, 10
OPERATIONS = 4e12  # of one fit at most, about a minute on two cores; MIN_ITERATIONS come first
TOLERANCE = 1e-3  # times 1 / K: largest entry of the gradient of the mean loss at which a fit ends
SMALLEST_STEP = 1e-7  # relative decrease of the objective at which a fit ends


@dataclass(frozen=True)
class GivenHead:
    """The head for plain features towards which a fit is regularised: weight float [K, D], bias float [K]."""

    weight: np.ndarray
    bias: np.ndarray


class Regressions:
    """Fits of min_W  Σ_i w_i CE(W z_i, y_i) + ‖W - W0‖² / (2 C), where z is the standardised feature vector and a 1.

    C is the strength. W0 is the given head; the biases are penalised only if there is one. Without it W0 is 0, and
    classes without examples are left out.
    """

    def __init__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        weight: np.ndarray,
        classes: int,
        given: GivenHead | None = None,
        device: torch.device | None = None,
    ) -> None:
        """features: float32 [n, D]. targets: int64 [n] in [0, classes). weight: [n], sample weights."""
        self.classes = classes
        self.mean, self.scale = mean_and_scale(features)
        self.present = np.arange(classes) if given else np.unique(targets)
        self.rows = standardised(features, self.mean, self.scale).to(device)
        self.targets = torch.from_numpy(np.searchsorted(self.present, targets)).to(device)
        self.weight = torch.from_numpy(np.asarray(weight)).float().to(device)
        self.total = float(weight.sum())
        self.centre = np.zeros((len(self.present), self.rows.shape[1]))
        self.penalised = np.ones(self.rows.shape[1])
        if given:
            self.centre = np.column_stack([given.weight * self.scale, given.weight @ self.mean + given.bias])
        else:
            self.penalised[-1] = 0.0

    @property
    def iterations(self) -> int:
        """How many steps a fit may take."""
        steps = OPERATIONS / (4 * self.rows.numel() * len(self.present))
        return int(np.clip(steps, MIN_ITERATIONS, MAX_ITERATIONS))

    def solution(self, strength: float, start: np.ndarray) -> np.ndarray:
        """W of a fit that starts from another W; float64 [P, D + 1], the biases last."""
        result = minimize(
            self.objective,
            start.ravel(),
            args=(strength,),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.iterations, "gtol": TOLERANCE / len(start), "ftol": SMALLEST_STEP},
        )
        return np.asarray(result.x).reshape(self.centre.shape)

    def objective(self, flat: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        """The objective and its gradient, both divided by the sum of the sample weights."""
        solution = flat.reshape(self.centre.shape)
        loss, gradient = self.loss(torch.from_numpy(solution).to(self.rows))
        deviation = (solution - self.centre) * self.penalised
        penalty = float((deviation**2).sum()) / (2 * strength)
        return (loss + penalty) / self.total, ((gradient + deviation / strength) / self.total).ravel()

    @torch.inference_mode()
    def loss(self, solution: Tensor) -> tuple[float, np.ndarray]:
        """The weighted sum of the cross-entropy, and its gradient float64 [P, D + 1]."""
        loss, gradient = 0.0, torch.zeros_like(solution)
        size = max(1, PIECE // len(solution))
        pieces = (torch.split(tensor, size) for tensor in (self.rows, self.targets, self.weight))
        for rows, targets, weight in zip(*pieces, strict=True):
            log_probabilities = F.log_softmax(rows @ solution.T, dim=1)
            chosen = log_probabilities.gather(1, targets[:, None])[:, 0]
            loss -= float((weight * chosen).sum(dtype=torch.float64))
            error = log_probabilities.exp_()
            error[torch.arange(len(rows), device=rows.device), targets] -= 1
            gradient += (error * weight[:, None]).T @ rows
        return loss, gradient.double().cpu().numpy()

    def fitted(self, strength: float) -> LinearProbe:
        """The probe of one strength; of the strength 0 it is the given head."""
        solution = self.solution(strength, self.centre) if strength else self.centre
        return self.probe(solution, strength)

    def probe(self, solution: np.ndarray, strength: float) -> LinearProbe:
        """The solution as a probe for plain features."""
        probe = LinearProbe(self.classes, strength)
        probe.mean, probe.scale = self.mean, self.scale
        return probe.with_classes(self.present, solution[:, :-1], solution[:, -1])


def standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Tensor:
    """float32 [n, D + 1]: the standardised features and a column of ones."""
    rows = torch.ones(len(features), features.shape[1] + 1)
    torch.sub(torch.from_numpy(features), torch.from_numpy(mean).float(), out=rows[:, :-1])
    rows[:, :-1].div_(torch.from_numpy(scale).float())
    return rows
