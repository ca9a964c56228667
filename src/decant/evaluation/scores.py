"""The metrics that training logs and that choices are based on."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, precision_score

from decant.evaluation.metrics import negative_log_likelihood


def scores(log_probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """accuracy, precision_macro, f1_macro and nll of log-probabilities [n, K] for targets int [n]."""
    predictions = log_probabilities.argmax(axis=1)
    return {
        "accuracy": float(accuracy_score(targets, predictions)),
        "precision_macro": float(precision_score(targets, predictions, average="macro", zero_division=0)),
        "f1_macro": float(f1_score(targets, predictions, average="macro", zero_division=0)),
        "nll": float(negative_log_likelihood(log_probabilities, targets)),
    }
