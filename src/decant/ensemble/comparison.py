"""Methods of pooling and contributions of teachers, compared by likelihood on val.

All pools are nested: a pool that is fitted to some groups of val predicts the others, so that a pool with more
parameters has no advantage. Intervals resample groups of near duplicates.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from sklearn.model_selection import GroupKFold

from decant.ensemble.calibration import labelled_rows
from decant.ensemble.pooling import METHODS, fit_pool
from decant.evaluation.intervals import mean_interval_of_groups
from decant.evaluation.scores import scores

FOLDS = 5
POOLING_COLUMNS = (
    "model", "kind", "chosen", "val_accuracy", "val_nll", "val_nll_difference",
    "val_nll_difference_low", "val_nll_difference_high",
)  # fmt: skip
CONTRIBUTION_COLUMNS = ("teacher", "weight", "val_nll_without", "gain", "gain_low", "gain_high")
DIVERSITY_COLUMNS = ("teacher", "other", "agreement", "both_wrong", "error_correlation")

Members = Mapping[str, np.ndarray]  # teacher -> log-probabilities [n, K], not calibrated


def pooling_rows(members: Members, targets: np.ndarray, groups: np.ndarray, chosen: str) -> list[dict[str, object]]:
    """Each teacher alone and each method, nested, compared with the `chosen` method; keys are POOLING_COLUMNS.

    A difference is the NLL minus that of `chosen`. targets: int [n], all labelled. groups: [n].
    """
    pools = {
        ("teacher", name): nested([log_probabilities], targets, groups, "equal")
        for name, log_probabilities in members.items()
    }
    pools |= {("pool", name): nested(list(members.values()), targets, groups, name) for name in METHODS}
    reference = row_nll(pools["pool", chosen], targets)
    rows = []
    for (kind, name), log_probabilities in pools.items():
        val_scores = scores(log_probabilities, targets)
        difference = row_nll(log_probabilities, targets) - reference
        low, high = mean_interval_of_groups(difference, groups)
        of_chosen = kind == "pool" and name == chosen
        row = (
            name,
            kind,
            of_chosen,
            val_scores["accuracy"],
            val_scores["nll"],
            *((None,) * 3 if of_chosen else (float(difference.mean()), low, high)),
        )
        rows.append(dict(zip(POOLING_COLUMNS, row, strict=True)))
    return rows


def best_method(members: Members, targets: np.ndarray, groups: np.ndarray) -> str:
    """The method with the least nested NLL; on ties the first of METHODS."""
    pooled = {name: nested(list(members.values()), targets, groups, name) for name in METHODS}
    return min(METHODS, key=lambda name: float(row_nll(pooled[name], targets).mean()))


def contribution_rows(
    members: Members, targets: np.ndarray, groups: np.ndarray, method: str, weights: Sequence[float]
) -> list[dict[str, object]]:
    """What each teacher adds: the ensemble's nested NLL without it minus that with it; CONTRIBUTION_COLUMNS."""
    with_all = row_nll(nested(list(members.values()), targets, groups, method), targets)
    rows = []
    for (name, _), weight in zip(members.items(), weights, strict=True):
        others = [log_probabilities for other, log_probabilities in members.items() if other != name]
        without = row_nll(nested(others, targets, groups, method), targets)
        gain = without - with_all
        row = name, weight, float(without.mean()), float(gain.mean()), *mean_interval_of_groups(gain, groups)
        rows.append(dict(zip(CONTRIBUTION_COLUMNS, row, strict=True)))
    return rows


def diversity_rows(members: Members, targets: np.ndarray) -> list[dict[str, object]]:
    """Agreement of each two teachers on val; keys are DIVERSITY_COLUMNS. A correlation of constants is None."""
    rows: list[dict[str, object]] = []
    predictions = {name: log_probabilities.argmax(axis=1) for name, log_probabilities in members.items()}
    for (name, predicted), (other, other_predicted) in combinations(predictions.items(), 2):
        wrong = np.stack([predicted != targets, other_predicted != targets]).astype(float)
        constant = (wrong.std(axis=1) == 0).any()
        row = (
            name,
            other,
            float((predicted == other_predicted).mean()),
            float(wrong.min(axis=0).mean()),
            None if constant else float(np.corrcoef(wrong)[0, 1]),
        )
        rows.append(dict(zip(DIVERSITY_COLUMNS, row, strict=True)))
    return rows


def can_be_nested(targets: np.ndarray, groups: np.ndarray) -> bool:
    """True if val has labels, and at least FOLDS groups."""
    return len(targets) > 0 and len(np.unique(groups)) >= FOLDS


def nested(log_probabilities: Sequence[np.ndarray], targets: np.ndarray, groups: np.ndarray, method: str) -> np.ndarray:
    """Log-probabilities [n, K] of pools that were each fitted to the groups of the other folds."""
    pooled = np.empty(log_probabilities[0].shape, dtype=np.float32)
    for others, fold in GroupKFold(FOLDS).split(pooled, groups=groups):
        fitted = fit_pool([values[others] for values in log_probabilities], targets[others], method)
        pooled[fold] = fitted.of([values[fold] for values in log_probabilities])
    return pooled


def row_nll(log_probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each row, float64 [n]. A probability of 0 counts as the smallest positive float32."""
    z, y = labelled_rows(log_probabilities, targets)
    return np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
