"""The manifest: every listed file has a row, files store rows exactly, and a full disk leaves the old file."""

import errno
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from decant.data import manifest as manifest_module
from decant.data.images import BrokenImage
from decant.data.manifest import (
    COLUMNS,
    Manifest,
    build_manifest,
    draw_splits,
    hide_labels,
    read_manifest,
    row_id,
    write_manifest,
)
from decant.data.sources.base import BaseSource, ListedImage
from decant.errors import UserError
from decant.study import Data


def png(shade: int, size: tuple[int, int] = (8, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


class MemorySource(BaseSource):
    """A source in memory."""

    def __init__(self, found: Sequence[ListedImage], files: dict[str, bytes | BrokenImage], classes: list[str]) -> None:
        super().__init__(Path("memory"))
        self.items, self.files, self.classes = found, files, classes

    def digest(self) -> str:
        return ""

    def _list_images(self) -> Iterable[ListedImage]:
        return self.items

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        for path in reversed(paths):
            if path in self.files:
                yield path, self.files[path]


def memory_source() -> MemorySource:
    """Two classes with three images each, and one file for each kind of problem."""
    files: dict[str, bytes | BrokenImage] = {f"{label}/{n}.png": png(n) for label in "ab" for n in range(3)}
    files |= {"a/bad.png": b"no image", "a/off.png": BrokenImage("bad sector"), "new/1.png": png(7)}
    found = [ListedImage(path, path[0], None) for path in files if path[0] != "n"]
    found += [ListedImage("a/known.png", "a", None, "a link"), ListedImage("a/lost.png", "a", "train")]
    found += [ListedImage("new/1.png", None, "predict"), ListedImage("c/1.png", None, "train")]
    files["c/1.png"] = png(9, (5, 9))
    return MemorySource(found, files, ["a", "b", "c"])


def built() -> Manifest:
    return build_manifest(memory_source(), Data(), 0)


def test_every_listed_file_has_a_row_kept_or_set_aside() -> None:
    rows = built().rows.set_index("path")
    assert list(rows.index) == [item.path for item in memory_source().list_images()]
    reasons = rows["reason"][rows["action"] == "drop"].to_dict()
    assert reasons == {
        "a/bad.png": "broken: not an image, or one of an unknown format",
        "a/off.png": "broken: bad sector",
        "a/known.png": "broken: a link",
        "a/lost.png": "broken: it could not be read",
    }
    assert (rows["action"][~rows.index.isin(reasons)] == "none").all()


def test_a_row_has_the_id_digest_size_and_label_of_its_file() -> None:
    row = built().rows.set_index("path").loc["b/2.png"]
    assert row["id"] == hashlib.sha256(b"b/2.png").hexdigest()[:16] == row_id("b/2.png")
    assert row["content"] == row["group"] == hashlib.sha256(png(2)).hexdigest()
    assert (row["width"], row["height"], row["weight"]) == (8, 6, 1.0)
    assert row["given_label"] == row["label"] == "b"


def test_exact_duplicates_share_content_and_group_but_not_id() -> None:
    rows = built().rows.set_index("path").loc[["a/1.png", "b/1.png"]]
    assert rows["content"].nunique() == rows["group"].nunique() == 1
    assert rows["id"].nunique() == 2
    assert rows["label"].tolist() == ["a", "b"]


def test_splits_that_were_not_given_are_none_until_they_are_drawn() -> None:
    rows = built().rows.set_index("path")
    assert rows["split"]["a/0.png"] is None
    assert rows["split"][["new/1.png", "c/1.png", "a/lost.png"]].tolist() == ["predict", "unlabelled", "train"]
    drawn = draw_splits(built(), 0, 0.3, 0.3).rows
    assert drawn["split"].isin(["train", "val", "test", "predict", "unlabelled"]).all()
    assert (drawn.groupby("group")["split"].nunique() == 1).all()


def test_a_class_without_an_image_to_train_on_is_left_out_and_its_rows_have_a_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = memory_source()
    source.items = [*source.items, ListedImage("val/c.png", "c", "val")]
    source.files["val/c.png"] = png(8)
    result = build_manifest(source, Data(), 0)
    assert result.classes == ["a", "b"]
    assert result.rows.iloc[-1]["action"] == "drop"
    assert result.rows.iloc[-1]["reason"] == "no image of its class to train on: c"
    assert "left out: 'c'" in caplog.text


def test_a_single_class_is_an_error() -> None:
    source = memory_source()
    source.items = [item for item in source.items if item.given_label != "b"]
    with pytest.raises(UserError, match=r"too few classes: 1 class .*\(a\).*1 × broken: a link"):
        build_manifest(source, Data(), 0)


def test_each_image_is_read_once_and_reported_as_progress() -> None:
    reported = []

    def progress(items: Iterator, what: str, total: int, unit: str) -> Iterator:
        for item in items:
            reported.append(item[0])
            yield item
        assert total == 11  # including the lost image

    build_manifest(memory_source(), Data(), 0, progress)
    assert sorted(reported) == sorted({*memory_source().files})


def test_workers_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = built().rows
    monkeypatch.setattr(manifest_module, "BATCH_IMAGES", 2)
    pd.testing.assert_frame_equal(build_manifest(memory_source(), Data(), 0, workers=5).rows, expected)


def test_a_manifest_is_unchanged_after_writing_and_reading(tmp_path: Path) -> None:
    manifest = built()
    write_manifest(manifest, tmp_path)
    read = read_manifest(tmp_path)
    pd.testing.assert_frame_equal(read.rows, manifest.rows)
    assert read.classes == manifest.classes
    assert read.rows["split"][0] is None
    assert pq.read_schema(tmp_path / "manifest.parquet").names == COLUMNS


def test_paths_in_any_script_are_stored_exactly(tmp_path: Path) -> None:
    source = memory_source()
    source.items = [*source.items, ListedImage("ä/車 🚗.png", "a", None, "odd")]
    write_manifest(build_manifest(source, Data(), 0), tmp_path)
    assert read_manifest(tmp_path).rows["path"].iloc[-1] == "ä/車 🚗.png"


def test_a_full_disk_is_an_error_and_leaves_the_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(built(), tmp_path)
    before = path.read_bytes()

    def half(table: object, where: Path, **options: object) -> None:
        where.write_bytes(before[: len(before) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(manifest_module.pq, "write_table", half)
    with pytest.raises(UserError, match=r"disk is full: .*manifest\.parquet"):
        write_manifest(draw_splits(built(), 0, 0.2, 0.2), tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["absent", "cut", "foreign"])
def test_an_unreadable_manifest_is_a_user_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "manifest.parquet"
    if damage == "cut":
        write_manifest(built(), tmp_path)
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "foreign":
        pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(UserError, match=r"manifest\.parquet is not a readable manifest"):
        read_manifest(tmp_path)


def test_the_rows_of_a_split_are_kept_rows_ordered_by_id() -> None:
    manifest = draw_splits(built(), 0, 0.3, 0.3)
    rows = manifest.of_split("train", "val")
    assert rows["id"].is_monotonic_increasing
    assert list(rows.index) == list(range(len(rows)))
    assert set(rows["split"]) <= {"train", "val"}
    assert (rows["action"] != "drop").all()
    assert len(manifest.kept()) == (manifest.rows["action"] != "drop").sum()


def test_targets_are_indices_and_minus_one_without_a_label() -> None:
    manifest = built()
    targets = manifest.targets(manifest.rows)
    assert targets.dtype == np.int64
    expected = {"a": 0, "b": 1, None: -1}
    assert targets.tolist() == [expected[label] for label in manifest.rows["label"]]
    with pytest.raises(ValueError, match="truck"):
        manifest.targets(manifest.rows.assign(label="truck"))


def test_a_repeated_id_is_an_error() -> None:
    rows = built().rows
    with pytest.raises(ValueError, match="twice"):
        Manifest(pd.concat([rows, rows[:1]]), ["a", "b"])


def test_a_missing_label_stays_none_in_a_text_column_of_pandas() -> None:
    manifest = built()
    retyped = manifest.rows.assign(label=pd.Series(manifest.rows["label"].tolist(), dtype="str"))
    assert Manifest(retyped, manifest.classes).rows["label"].iloc[-1] is None


@pytest.mark.parametrize(("given", "split"), [("test", "predict"), ("val", "val"), ("train", "unlabelled")])
def test_an_image_without_a_label_is_to_predict_in_test_set_aside_in_val_and_else_unlabelled(
    given: str, split: str
) -> None:
    source = memory_source()
    source.items = [*source.items, ListedImage("new/2.png", None, given)]
    source.files["new/2.png"] = png(8)
    row = build_manifest(source, Data(), 0).rows.set_index("path").loc["new/2.png"]
    assert row["split"] == split
    assert (row["action"], row["reason"].split(":")[0]) == (("drop", "no label") if given == "val" else ("none", ""))


def test_hidden_labels_make_unlabelled_rows() -> None:
    manifest = draw_splits(built(), 0, 0.3, 0.3)
    assert hide_labels(manifest, 1.0, 0) is manifest
    before, after = manifest.rows, hide_labels(manifest, 0.01, 0).rows
    hidden = before["split"] != after["split"]
    assert hidden.any()
    assert after[hidden][["given_label", "label"]].isna().all(axis=None)
    assert set(after["split"][hidden]) == {"unlabelled"} and set(before["split"][hidden]) == {"train"}
    pd.testing.assert_frame_equal(before[~hidden], after[~hidden])
