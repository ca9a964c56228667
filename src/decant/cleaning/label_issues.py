"""Label issues: rows whose label is probably wrong, by cleanlab's confident learning on out-of-fold probabilities."""

import warnings

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues as confident_learning

SUSPECT_COLUMNS = ["id", "self_confidence", "suggested", "suggested_confidence"]


def find_label_issues(probabilities: np.ndarray, targets: np.ndarray, ids: np.ndarray) -> pd.DataFrame:
    """Return the suspect rows, most suspect first (Northcutt, Jiang & Chuang 2021, "Confident Learning").

    probabilities: float [n, K], out of fold or from a model that was not trained on these rows. targets: int64 [n], the
    given classes, -1 for no label. ids: [n]. Returns SUSPECT_COLUMNS: the probability of the given class, the most
    probable class (int64) and its probability. Classes without any target are left out of the estimate.
    """
    labelled = np.flatnonzero(np.asarray(targets) >= 0)
    probabilities, targets, ids = probabilities[labelled], np.asarray(targets)[labelled], np.asarray(ids)[labelled]
    present = np.unique(targets)
    if len(present) < 2:
        return pd.DataFrame(columns=SUSPECT_COLUMNS)
    known = probabilities[:, present].astype(np.float64)
    known = (known + 1e-9) / (known + 1e-9).sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)  # a class with one row
        flagged = confident_learning(
            np.searchsorted(present, targets), known, filter_by="prune_by_noise_rate", n_jobs=1
        )
    predicted = present[known.argmax(axis=1)]
    flagged = np.flatnonzero(np.asarray(flagged) & (predicted != targets))
    rows = np.arange(len(targets))
    table = pd.DataFrame(
        {
            "id": ids,
            "self_confidence": known[rows, np.searchsorted(present, targets)],
            "suggested": predicted.astype(np.int64),
            "suggested_confidence": known.max(axis=1),
        }
    )
    return table.iloc[flagged].sort_values(["self_confidence", "id"], ignore_index=True)
