"""Predictions of one model for one split: log-probabilities per TTA member, and the files that store them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

SPLITS = ("val", "test", "predict")  # the splits that trained models predict
LOG_SUMS = "log_sums"


@dataclass(frozen=True)
class Predictions:
    """ids: manifest ids in row order. members: TTA member name -> float32 [n, K] log-probabilities.

    log_sums: of an exported file's logits, float32 [n] (`decant.evaluation.energy`); None for other models.
    """

    ids: list[str]
    members: dict[str, np.ndarray]
    log_sums: np.ndarray | None = None

    def mean(self) -> np.ndarray:
        """Log of the mean over members of the probabilities, float32 [n, K]."""
        stacked = np.stack(list(self.members.values())).astype(np.float64)
        return (logsumexp(stacked, axis=0) - np.log(len(stacked))).astype(np.float32)

    def aligned(self, ids: list[str]) -> "Predictions":
        """The same predictions in the order of `ids`. Raises KeyError if one is missing."""
        position = {id_: row for row, id_ in enumerate(self.ids)}
        rows = np.array([position[id_] for id_ in ids], dtype=np.int64)
        log_sums = None if self.log_sums is None else self.log_sums[rows]
        return Predictions(list(ids), {name: values[rows] for name, values in self.members.items()}, log_sums)


def write_predictions(folder: Path, split: str, predictions: Predictions) -> None:
    """Write `folder/split/<member>.npy`, `log_sums.npy` if there are any and, last, `ids.json`.

    `ids.json` marks the split as complete. Earlier predictions of the split are removed first.
    """
    target = folder / split
    target.mkdir(parents=True, exist_ok=True)
    for earlier in (target / "ids.json", *target.glob("*.npy")):
        earlier.unlink(missing_ok=True)
    log_sums = {} if predictions.log_sums is None else {LOG_SUMS: predictions.log_sums}
    for name, values in {**predictions.members, **log_sums}.items():
        np.save(target / f"{name}.npy", values.astype(np.float32), allow_pickle=False)
    (target / "ids.json").write_text(json.dumps(predictions.ids))


def read_predictions(folder: Path, split: str) -> Predictions:
    """Inverse of `write_predictions`; "identity" is the first member."""
    source = folder / split
    names = sorted((path.stem for path in source.glob("*.npy")), key=lambda name: (name != "identity", name))
    members = {name: np.load(source / f"{name}.npy", allow_pickle=False) for name in names}
    log_sums = members.pop(LOG_SUMS, None)
    return Predictions(json.loads((source / "ids.json").read_text()), members, log_sums)
