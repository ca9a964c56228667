"""Images that show none of a model's classes: three scores, and how many images each score refuses.

Higher scores mean that an image is more like the training data.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from decant.evaluation.acceptance import exact_interval, share_index

FOREIGN_COLUMNS = (
    "study", "foreign", "score", "n_val", "n_test", "n_foreign", "auroc",
    "share_val", "share_test", "precision_test", "refused", "refused_low", "refused_high",
)  # fmt: skip

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


def top_probability(probabilities: Floats) -> Floats:
    """The highest probability of each row, [n, K] -> [n] (Hendrycks & Gimpel 2017)."""
    return probabilities.max(axis=1)


def neighbour_score(features: Floats, train: Floats, neighbours: int) -> Floats:
    """Minus the distance to the k-th nearest feature of train, all scaled to length 1: [n] (Sun et al. 2022, eq. 2).

    Args:
        features: [n, D]. train: [m, D], m ≥ 1. neighbours: k; m if that is less.
    """
    index = NearestNeighbors(n_neighbors=min(neighbours, len(train)), algorithm="brute").fit(_unit(train))
    distances, _ = index.kneighbors(_unit(features))
    return np.asarray(-distances[:, -1])


def threshold_at(val: Floats, share: float) -> float:
    """The highest threshold that at least `share` of the val scores [n] reach; share in (0, 1]."""
    return float(np.sort(val)[share_index(len(val), share)])


def foreign_row(name: str, scores: Mapping[str, Floats], right: Bools, share: float) -> dict[str, object]:
    """AUROC of a score between test and foreign images, and the images refused; FOREIGN_COLUMNS from `score` on.

    Args:
        name: of the score. scores: "val", "test" and "foreign" -> [n]. right: predictions of test, [n]. share: of val
            that is accepted.
    """
    threshold = threshold_at(scores["val"], share)
    known, foreign = scores["test"], scores["foreign"]
    auroc = float(roc_auc_score([1] * len(known) + [0] * len(foreign), np.concatenate([known, foreign])))
    return refusals(name, {split: values >= threshold for split, values in scores.items()}, right, auroc)


def refusals(name: str, accepted: Mapping[str, Bools], right: Bools, auroc: float | None = None) -> dict[str, object]:
    """The images that a rule refuses; FOREIGN_COLUMNS from `score` on. accepted: "val", "test" and "foreign" -> [n]."""
    foreign, test = accepted["foreign"], accepted["test"]
    refused = int((~foreign).sum())
    low, high = exact_interval(refused, len(foreign))
    return {
        "score": name,
        "n_val": len(accepted["val"]),
        "n_test": len(test),
        "n_foreign": len(foreign),
        "auroc": auroc,
        "share_val": float(accepted["val"].mean()),
        "share_test": float(test.mean()),
        "precision_test": float(right[test].mean()) if test.any() else None,
        "refused": refused / len(foreign),
        "refused_low": low,
        "refused_high": high,
    }


def _unit(features: Floats) -> Floats:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
