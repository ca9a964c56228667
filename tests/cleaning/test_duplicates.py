"""Pairs of exact duplicates, and the groups of exact and near duplicates."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decant.cleaning.duplicates import LARGEST_GROUP, find_exact_duplicates, group_duplicates


def rows_of(*contents: str) -> pd.DataFrame:
    return pd.DataFrame({"content": contents}, index=[7 * number for number in range(len(contents))])


def near_of(*pairs: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["i", "j", "score"])


def test_exact_copies_are_paired_with_the_first_row_of_the_same_content_by_position() -> None:
    pairs = find_exact_duplicates(rows_of("a", "b", "a", "c", "b", "a"))
    assert pairs.values.tolist() == [[0, 2, 1], [1, 4, 1], [0, 5, 1]]


def test_without_copies_there_are_no_pairs_and_each_row_is_its_own_group() -> None:
    rows = rows_of("b", "a")
    assert find_exact_duplicates(rows).empty
    assert group_duplicates(rows, find_exact_duplicates(rows), near_of()) == ["b", "a"]


def test_a_group_is_named_after_its_smallest_content() -> None:
    rows = rows_of("d", "b", "c", "b", "a")
    assert group_duplicates(rows, find_exact_duplicates(rows), near_of((0, 3, 0.9))) == ["b", "b", "c", "b", "a"]


contents = st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=20)


@given(contents, st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19), st.floats(0.5, 1)), max_size=15))
def test_groups_are_the_connected_components_of_exact_and_near_pairs(
    names: list[str], links: list[tuple[int, int, float]]
) -> None:
    rows = rows_of(*names)
    near = near_of(*((i, j, score) for i, j, score in links if i < j < len(names)))
    expected = {name: name for name in names}
    for _ in names:  # one pass per row is enough: the smallest name moves at least one link further in each pass
        for i, j in zip(near["i"], near["j"], strict=True):
            expected[names[i]] = expected[names[j]] = min(expected[names[i]], expected[names[j]])
    assert group_duplicates(rows, find_exact_duplicates(rows), near) == [expected[name] for name in names]


def test_a_chain_is_cut_at_the_pairs_with_the_lowest_score() -> None:
    n = 3 * LARGEST_GROUP
    weak = {LARGEST_GROUP - 1, 2 * LARGEST_GROUP - 1}
    near = near_of(*((k, k + 1, 0.81 if k in weak else 0.95) for k in range(n - 1)))
    rows = rows_of(*(f"{k:04d}" for k in range(n)))
    groups = np.array(group_duplicates(rows, find_exact_duplicates(rows), near))
    assert [len(set(groups[k : k + LARGEST_GROUP])) for k in range(0, n, LARGEST_GROUP)] == [1, 1, 1]
    assert len(set(groups)) == 3


@pytest.mark.parametrize("copies", [LARGEST_GROUP + 20])
def test_exact_copies_stay_in_one_group_above_the_largest_group_size(copies: int) -> None:
    rows = rows_of(*["a"] * copies, "b")
    assert group_duplicates(rows, find_exact_duplicates(rows)) == ["a"] * copies + ["b"]
