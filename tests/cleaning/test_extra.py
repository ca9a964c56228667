"""Copies in extra sources: none of an image to evaluate or to predict is kept, and the main source does not change."""

from collections.abc import Sequence

import pandas as pd
import pytest

from decant.cleaning.extra import check_extra
from decant.data.manifest import COLUMNS, EXTRA, Manifest

PAIRS = ["i", "j", "score"]
NONE = pd.DataFrame(columns=PAIRS).astype({"i": int, "j": int, "score": float})


def manifest_of(
    *rows: tuple[int, str, str | None], content: Sequence[str] = (), groups: Sequence[str] = ()
) -> Manifest:
    """rows: extra source (0: main), split, label. Contents and groups are all different unless given."""
    contents = list(content) or [f"c{n:04d}" for n in range(len(rows))]
    groups = list(groups) or contents
    filled = [
        (f"r{n}", contents[n], f"{n}.jpg", label, label, split, groups[n], 1.0, "none", "", 9, 9, extra)
        for n, (extra, split, label) in enumerate(rows)
    ]
    return Manifest(pd.DataFrame(filled, columns=[*COLUMNS, EXTRA]), ["car", "van"])


def pairs(*found: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame([(i, j, 0.9) for i, j in found], columns=PAIRS)


@pytest.mark.parametrize("split", ["val", "test", "predict"])
@pytest.mark.parametrize("kind", ["exact", "near"])
@pytest.mark.parametrize("label", ["car", None])
def test_a_copy_of_an_image_to_evaluate_or_to_predict_is_set_aside(split: str, kind: str, label: str | None) -> None:
    manifest = manifest_of((0, split, None if split == "predict" else "car"), (0, "train", "car"), (1, "train", label))
    found = pairs((0, 2))
    checked = check_extra(manifest, found if kind == "exact" else NONE, found if kind == "near" else NONE)
    assert list(checked.leaks) == ["r2"]
    assert "0.jpg" in checked.leaks["r2"] and split in checked.leaks["r2"]
    assert list(checked.manifest.rows["action"]) == ["none", "none", "drop"]


def test_a_copy_of_a_copy_leaks_through_more_images_than_a_group_may_have() -> None:
    count = 120
    manifest = manifest_of((0, "test", "car"), *[(1, "train", "car")] * count, (1, "train", "van"))
    near = pairs(*((n, n + 1) for n in range(count)))
    checked = check_extra(manifest, NONE, near)
    assert len(checked.leaks) == count
    assert list(checked.manifest.rows["action"]).count("none") == 2


def test_a_copy_of_a_train_image_whose_group_is_in_test_leaks_too() -> None:
    manifest = manifest_of(
        (0, "test", "car"), (0, "train", "car"), (1, "train", "car"), groups=["g", "g", "c0002"]
    )  # fmt: skip
    assert list(check_extra(manifest, NONE, pairs((1, 2))).leaks) == ["r2"]


def test_groups_and_rows_of_val_and_test_do_not_change() -> None:
    manifest = manifest_of((0, "test", "car"), (0, "val", "car"), (1, "train", "car"), content=["z", "y", "a"])
    checked = check_extra(manifest, NONE, pairs((0, 2)))
    pd.testing.assert_frame_equal(checked.manifest.main().rows, manifest.main().rows)
    assert checked.manifest.rows["group"].nunique() == 3


def test_near_copies_of_a_train_image_are_kept_in_its_group() -> None:
    manifest = manifest_of((0, "train", "car"), (0, "test", "car"), (1, "train", "car"), (2, "train", "car"))
    rows = check_extra(manifest, NONE, pairs((0, 2), (2, 3))).manifest.rows
    assert rows["group"].tolist() == ["c0000", "c0001", "c0000", "c0000"]
    assert set(rows["action"]) == {"none"}


def test_the_label_of_the_main_source_counts_for_the_same_file() -> None:
    manifest = manifest_of((0, "train", "car"), (0, "test", "van"), (1, "train", "van"), content=["a", "b", "a"])
    checked = check_extra(manifest, pairs((0, 2)), NONE)
    assert list(checked.copies) == ["r2"]
    assert checked.manifest.rows["action"].tolist() == ["none", "none", "drop"]


def test_a_label_for_an_unlabelled_file_of_the_main_source_is_kept() -> None:
    manifest = manifest_of(
        (0, "unlabelled", None), (0, "test", "van"), (1, "train", "van"), (1, "unlabelled", None),
        content=["a", "b", "a", "a"],
    )  # fmt: skip
    checked = check_extra(manifest, pairs((0, 2), (0, 3)), NONE)
    assert list(checked.copies) == ["r3"]
