"""Label issues: rows whose label is probably wrong, by cleanlab's confident learning on out-of-fold probabilities."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues as confident_learning

SUSPECT_COLUMNS = ["id", "self_confidence", "suggested", "suggested_confidence"]


@dataclass(frozen=True)
class Labelled:
    """The rows with a label and the classes with a row.

    positions: int64 [n], of the rows. present: int64 [K], of the classes. probabilities: float64 [n, K], of the present
    classes, summing to 1. targets: int64 [n] in [0, K).
    """

    positions: np.ndarray
    present: np.ndarray
    probabilities: np.ndarray
    targets: np.ndarray


def labelled_rows(probabilities: np.ndarray, targets: np.ndarray) -> Labelled:
    """The rows with a label, with their probabilities of the present classes alone.

    probabilities: float [m, C] of all classes. targets: int64 [m], -1 for no label.
    """
    targets = np.asarray(targets)
    positions = np.flatnonzero(targets >= 0)
    present = np.unique(targets[positions])
    known = np.asarray(probabilities)[np.ix_(positions, present)].astype(np.float64) + 1e-9
    known /= known.sum(axis=1, keepdims=True)
    return Labelled(positions, present, known, np.searchsorted(present, targets[positions]))


def find_label_issues(probabilities: np.ndarray, targets: np.ndarray, ids: np.ndarray) -> pd.DataFrame:
    """Return the suspect rows, most suspect first (Northcutt, Jiang & Chuang 2021, "Confident Learning").

    probabilities: float [n, K], out of fold or from a model that was not trained on these rows. targets: int64 [n], the
    given classes, -1 for no label. ids: [n]. Returns SUSPECT_COLUMNS: the probability of the given class, the most
    probable class (int64) and its probability. Classes without any target are left out. A weak classifier makes many
    more suspects than there are wrong labels: `label_noise` estimates how many of them to trust.
    """
    labelled = labelled_rows(probabilities, targets)
    if len(labelled.present) < 2:
        return pd.DataFrame(columns=SUSPECT_COLUMNS)
    known = labelled.probabilities
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)  # a class with one row
        flagged = confident_learning(labelled.targets, known, filter_by="prune_by_noise_rate", n_jobs=1)
    predicted = known.argmax(axis=1)
    table = pd.DataFrame(
        {
            "id": np.asarray(ids)[labelled.positions],
            "self_confidence": known[np.arange(len(known)), labelled.targets],
            "suggested": labelled.present[predicted].astype(np.int64),
            "suggested_confidence": known.max(axis=1),
        }
    )
    suspects = table[np.asarray(flagged) & (predicted != labelled.targets)]
    return suspects.sort_values(["self_confidence", "id"], ignore_index=True)
