"""The layout of one row of soft labels on disk: dense up to 64 classes, above that the top k and the rest mass.

The float16 numbers are *logarithms* of the probabilities. float16 cannot represent a probability below 6e-8, and a
confident teacher gives many of those; softened by T = 4, each has about 1% of the mass. Their logarithms fit into
float16, need no more bytes, and are as exact for other probabilities (relative error at most 2e-4, against 2.4e-4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DENSE_UP_TO = 64  # classes


@dataclass(frozen=True)
class RowLayout:
    """How a row is stored. classes: K. top_k: how many classes a row contains; None for all."""

    classes: int
    top_k: int | None

    @classmethod
    def of(cls, classes: int, top_k: int) -> RowLayout:
        """Dense up to DENSE_UP_TO classes, else the top k. Raises ValueError for numbers below 1."""
        if classes < 1 or top_k < 1:
            raise ValueError(f"classes and top_k must be at least 1, not {classes} and {top_k}")
        return cls(classes, None if classes <= DENSE_UP_TO else min(top_k, classes))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of an array element: one number of a dense row, or a whole sparse row as a packed record."""
        if self.top_k is None:
            return np.dtype("<f2")
        index = "<u2" if self.classes <= 2**16 else "<u4"
        return np.dtype([("index", index, (self.top_k,)), ("value", "<f2", (self.top_k,)), ("rest", "<f2")])

    @property
    def row_bytes(self) -> int:
        """Bytes per row: 2 K if dense, (2 + index size) k + 2 if sparse."""
        return self.dtype.itemsize * (self.classes if self.top_k is None else 1)

    def shape(self, rows: int) -> tuple[int, ...]:
        """The shape of the array of that many rows."""
        return (rows, self.classes) if self.top_k is None else (rows,)

    def encode(self, probabilities: NDArray[np.float64]) -> NDArray[Any]:
        """[n, K] probabilities to an array of `shape(n)` and `dtype`."""
        if self.top_k is None:
            return _log16(probabilities)
        top_classes = np.argpartition(-probabilities, self.top_k - 1, axis=1)[:, : self.top_k]
        values = np.take_along_axis(probabilities, top_classes, axis=1)
        encoded = np.empty(len(probabilities), dtype=self.dtype)
        encoded["index"], encoded["value"] = top_classes, _log16(values)
        encoded["rest"] = _log16(np.maximum(1.0 - values.sum(axis=1), 0.0))
        return encoded

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """float32 [n, K] rows that sum to 1; the rest mass is spread evenly over the classes that are not stored."""
        probabilities = np.exp((stored if self.top_k is None else stored["rest"]).astype(np.float32))
        if self.top_k is not None:
            others = max(self.classes - self.top_k, 1)
            probabilities = np.repeat(probabilities[:, None] / others, self.classes, axis=1)
            values = np.exp(stored["value"].astype(np.float32))
            np.put_along_axis(probabilities, stored["index"].astype(np.int64), values, axis=1)
        normalised: NDArray[np.float32] = probabilities / probabilities.sum(axis=1, keepdims=True)
        return normalised


def _log16(probabilities: NDArray[np.float64]) -> NDArray[np.float16]:
    """The natural logarithms as little-endian float16."""
    with np.errstate(divide="ignore"):  # 0 becomes -inf, which float16 represents
        return np.log(probabilities).astype("<f2")
