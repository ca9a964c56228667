"""Splits: groups whole, classes in proportion, the same for every order of the rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decant.data.sources.base import ListedImage
from decant.data.splits import assign_splits, folds, limited, separate_groups, without_label
from decant.errors import UserError


def table(labels: list[str | None], groups: list[str] | None = None, splits: object = None) -> pd.DataFrame:
    count = len(labels)
    return pd.DataFrame(
        {
            "id": [f"{number:04d}" for number in range(count)],
            "label": pd.Series(labels, dtype=object),
            "split": pd.Series(splits or [None] * count, dtype=object),
            "group": groups or [f"g{number}" for number in range(count)],
            "action": "none",
            "reason": "",
        }
    )


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    count = draw(st.integers(1, 60))
    labels = draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=count, max_size=count))
    groups = draw(st.lists(st.integers(0, 40).map(str), min_size=count, max_size=count))
    return table(labels, groups)


@given(rows=tables(), seed=st.integers(0, 5))
@settings(max_examples=100)
def test_no_group_is_in_two_drawn_splits_and_every_class_has_a_train_row(rows: pd.DataFrame, seed: int) -> None:
    rows["split"] = assign_splits(rows, seed, 0.3, 0.3)
    labelled = rows[rows["label"].notna()]
    assert (rows["split"][rows["label"].isna()] == "unlabelled").all()
    assert labelled.groupby("group")["split"].nunique().le(1).all()
    assert set(labelled["label"]) == set(labelled["label"][labelled["split"] == "train"])


@given(rows=tables(), order=st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_of_the_rows_does_not_matter(rows: pd.DataFrame, order: object) -> None:
    positions = list(range(len(rows)))
    order.shuffle(positions)  # type: ignore[attr-defined]
    shuffled = assign_splits(rows.iloc[positions], 3, 0.2, 0.2)
    pd.testing.assert_series_equal(shuffled.sort_index(), assign_splits(rows, 3, 0.2, 0.2))


def test_each_class_is_split_in_proportion() -> None:
    rows = table(["a"] * 200 + ["b"] * 100 + ["c"] * 20)
    drawn = pd.crosstab(rows["label"], assign_splits(rows, 0, 0.15, 0.15))
    assert drawn["test"].to_dict() == drawn["val"].to_dict() == {"a": 30, "b": 15, "c": 3}


def test_the_draw_depends_on_the_seed() -> None:
    rows = table(["a", "b"] * 50)
    first = assign_splits(rows, 0, 0.2, 0.2)
    assert first.equals(assign_splits(rows, 0, 0.2, 0.2))
    assert not first.equals(assign_splits(rows, 1, 0.2, 0.2))


def test_another_class_does_not_change_the_splits_of_the_others() -> None:
    rows = table(["a"] * 40 + ["b"] * 40 + ["c"] * 40)
    alone = assign_splits(rows[:80], 0, 0.2, 0.2)
    pd.testing.assert_series_equal(assign_splits(rows, 0, 0.2, 0.2)[:80], alone)


def test_given_splits_are_kept_and_the_missing_one_is_drawn_from_train() -> None:
    rows = table(["a", "b"] * 100, splits=["train"] * 160 + ["val"] * 40)
    split = assign_splits(rows, 0, 0.15, 0.15)
    assert (split[160:] == "val").all()
    assert split[:160].value_counts().to_dict() == {"train": 136, "test": 24}


def test_with_all_splits_given_nothing_is_drawn() -> None:
    given_splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    assert assign_splits(table(["a", "b"] * 5, splits=given_splits), 0, 0.4, 0.4).tolist() == given_splits


def test_a_row_without_split_follows_the_given_split_of_its_group() -> None:
    rows = table(["a", "a", "a", "b"], ["x", "x", "y", "z"], ["test", None, "val", None])
    assert assign_splits(rows, 0, 0.2, 0.2).tolist() == ["test", "test", "val", "train"]


def test_rows_to_predict_and_unlabelled_rows_are_not_drawn() -> None:
    rows = table(["a", "b"] * 20 + [None] * 2, splits=[None] * 40 + ["predict", "unlabelled"])
    assert assign_splits(rows, 0, 0.3, 0.3)[40:].tolist() == ["predict", "unlabelled"]


def test_rows_that_were_set_aside_do_not_count() -> None:
    rows = table(["a"] * 40 + ["b"] * 40)
    rows.loc[:19, "action"] = "drop"
    split = assign_splits(rows, 0, 0.2, 0.2)
    assert split[20:40].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert (split[:20] == "train").all()


def test_the_only_image_of_a_class_is_in_train() -> None:
    split = assign_splits(table(["rare"] + ["a"] * 30 + ["b"] * 30), 0, 0.45, 0.45)
    assert split[0] == "train"


def test_the_only_group_of_a_class_is_in_train() -> None:
    rows = table(["a"] * 12 + ["b"] * 30, ["one"] * 12 + [f"g{n}" for n in range(30)])
    assert (assign_splits(rows, 0, 0.45, 0.45)[:12] == "train").all()


def test_train_rows_that_share_a_group_with_test_are_set_aside() -> None:
    rows = table(
        ["a"] * 7, ["x", "x", "y", "y", "z", "z", "w"], ["train", "test", "train", "val", "val", "test", "train"]
    )
    result = separate_groups(rows)
    assert result["action"].tolist() == ["drop", "none", "drop", "none", "drop", "none", "none"]
    assert result["reason"][[0, 2, 4]].tolist() == [
        "leak: its group has a row in test",
        "leak: its group has a row in val",
        "leak: its group has a row in test",
    ]
    assert (rows["action"] == "none").all()  # the given table is unchanged


def test_rows_that_were_set_aside_or_are_to_predict_do_not_leak() -> None:
    rows = table(["a", "a", "a", None], ["x", "x", "y", "y"], ["train", "test", "train", "predict"])
    rows.loc[1, "action"] = "drop"
    assert separate_groups(rows)["action"].tolist() == ["none", "drop", "none", "none"]


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_unlabelled_copies_of_images_to_evaluate_or_to_predict_are_set_aside(split: str) -> None:
    label = None if split == "predict" else "a"
    rows = table([label, None, None, "a"], ["x", "x", "y", "y"], [split, "unlabelled", "unlabelled", "train"])
    result = separate_groups(rows)
    assert result["action"].tolist() == ["none", "drop", "none", "none"]
    assert result["reason"][1] == f"leak: its group has a row in {split}"


def test_folds_keep_groups_whole_and_classes_in_proportion() -> None:
    groups = [f"g{number // 3}" for number in range(180)]
    labels = [(number // 3) % 4 for number in range(180)]
    fold = folds(groups, labels, 5, 0)
    assert pd.DataFrame({"group": groups, "fold": fold}).groupby("group")["fold"].nunique().eq(1).all()
    counts = pd.crosstab(labels, fold).to_numpy()
    assert counts.shape == (4, 5)
    assert np.abs(counts - 9).max() <= 3


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    groups, labels = [f"g{number // 2}" for number in range(80)], [number // 2 % 2 for number in range(80)]
    order = np.random.default_rng(0).permutation(80)
    fold = folds(groups, labels, 4, 7)
    np.testing.assert_array_equal(fold[order], folds([groups[n] for n in order], [labels[n] for n in order], 4, 7))
    assert (fold != folds(groups, labels, 4, 8)).any()


def test_too_few_groups_for_the_folds_is_a_user_error() -> None:
    with pytest.raises(UserError, match="too few for 5 folds"):
        folds(["a", "a", "b", "b", "c", "c"], [0, 0, 1, 1, 0, 1], 5, 0)


def test_a_limit_applies_to_train_and_its_share_to_all_other_images() -> None:
    items = [ListedImage(f"{label}/{n}.jpg", label, "train") for label in "ab" for n in range(100)]
    items += [ListedImage(f"b/few{n}.jpg", "c", "train") for n in range(5)]
    items += [ListedImage(f"test/{label}{n}.jpg", label, "test") for label in "ab" for n in range(40)]
    items += [ListedImage(f"val/{label}{n}.jpg", label, "val") for label in "ab" for n in range(20)]
    items += [ListedImage(f"predict/{n}.jpg", None, "predict") for n in range(50)]
    kept = pd.DataFrame(limited(items, 10, 0.15, 0.15, 0)).fillna("")
    counts = kept.value_counts(["given_label", "split"]).to_dict()
    assert counts == {
        ("a", "train"): 10, ("b", "train"): 10, ("c", "train"): 5, ("a", "test"): 4, ("b", "test"): 4,
        ("a", "val"): 2, ("b", "val"): 2, ("", "predict"): 6,
    }  # fmt: skip


def test_a_limit_leaves_room_for_the_splits_that_are_drawn_later() -> None:
    items = [ListedImage(f"{label}/{n}.jpg", label, None) for label in "ab" for n in range(100)]
    kept = limited(items, 14, 0.15, 0.15, 0)
    rows = table([item.given_label for item in kept], [item.path for item in kept])
    split = assign_splits(rows, 0, 0.15, 0.15)
    assert pd.crosstab(rows["label"], split)["train"].to_dict() == {"a": 14, "b": 14}


def test_a_share_of_each_class_keeps_its_label() -> None:
    rows = table(["a"] * 200 + ["b"] * 100 + ["c"] * 3, splits=["train"] * 303)
    hidden = without_label(rows, 0.1, 0)
    assert rows["label"][~hidden].value_counts().to_dict() == {"a": 20, "b": 10, "c": 1}
    assert set(rows["id"][~hidden]) < set(rows["id"][~without_label(rows, 0.2, 0)])
    assert set(rows["id"][~hidden]) != set(rows["id"][~without_label(rows, 0.1, 1)])
    assert not without_label(rows, 1.0, 0).any()


@given(rows=tables(), share=st.floats(0.01, 1), seed=st.integers(0, 5))
@settings(max_examples=60)
def test_labels_are_hidden_in_train_alone_and_in_whole_groups(rows: pd.DataFrame, share: float, seed: int) -> None:
    rows["split"] = assign_splits(rows, seed, 0.2, 0.2)
    hidden = without_label(rows, share, seed)
    train = rows["split"] == "train"
    assert not (hidden & ~train).any()
    assert hidden[train].groupby(rows["group"][train]).nunique().le(1).all()
