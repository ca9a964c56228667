"""Exact duplicates, found by content, and the groups that exact and near duplicates form."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LARGEST_GROUP = 50  # near pairs form chains; a larger group means wrong pairs, not one photo
PAIR_COLUMNS = ["i", "j", "score"]


def find_exact_duplicates(rows: pd.DataFrame) -> pd.DataFrame:
    """Return pairs of rows with the same bytes: positions i < j, score 1; i is the first row with these bytes."""
    content = rows["content"].to_numpy()
    first: dict[str, int] = {}
    pairs = [(first[name], j, 1.0) for j, name in enumerate(content) if first.setdefault(name, j) != j]
    return pd.DataFrame(pairs, columns=PAIR_COLUMNS).astype({"i": np.int64, "j": np.int64, "score": float})


def group_duplicates(rows: pd.DataFrame, exact: pd.DataFrame, near: pd.DataFrame | None = None) -> list[str]:
    """Return the group of each row: the smallest content hash among the rows that pairs connect.

    Near pairs are joined from the highest score down; a pair that would make a group of more than 50 images is skipped.
    """
    n = len(rows)
    joined = components(n, exact)
    if near is not None and len(near):
        joined = _joined(joined, near.sort_values(["score", "i", "j"], ascending=[False, True, True]))
    content = rows["content"].to_numpy()
    smallest = pd.Series(content).groupby(joined).transform("min")
    return list(smallest)


def components(n: int, pairs: pd.DataFrame) -> np.ndarray:
    """Return the connected component of each of n rows; int [n]. pairs: columns i, j."""
    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_array((ones, (pairs["i"].to_numpy(), pairs["j"].to_numpy())), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])


def _joined(component: np.ndarray, pairs: pd.DataFrame) -> np.ndarray:
    """Join components along pairs, in order, up to LARGEST_GROUP members (union-find)."""
    count = int(component.max()) + 1
    parent, size = np.arange(count), np.bincount(component, minlength=count)

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for i, j in zip(pairs["i"].to_numpy(), pairs["j"].to_numpy(), strict=True):
        a, b = sorted((root(component[i]), root(component[j])))
        if a != b and size[a] + size[b] <= LARGEST_GROUP:
            parent[b] = a
            size[a] += size[b]
    return np.array([root(node) for node in component])
