"""Parquet tables: the layout of the Hugging Face hub and similar layouts."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from decant.data.manifest import build_manifest
from decant.data.sources import open_source
from decant.data.sources.base import ListedImage, Source
from decant.errors import UserError
from decant.study import Data

HUB = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}})}


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), shade).save(file, "PNG")
    return file.getvalue()


def written(path: Path, labels: list | None, metadata: dict | None = None, shade: int = 0, **columns: Any) -> None:
    """A table of len(labels) images in row groups of two; the shade of each is `shade` plus its index."""
    count = len(labels) if labels is not None else 3
    cells = [{"bytes": png(shade + index), "path": f"{index}.png"} for index in range(count)]
    table = pa.table({"image": cells, **({} if labels is None else {"label": labels}), **columns})
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=2)


def opened(root: Path, **options: object) -> Source:
    return open_source(Data(source="parquet", path=".", **options), root, root / "work")  # type: ignore[arg-type]


def test_paths_are_file_and_index_and_labels_are_the_names_of_the_schema(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [1, 0, 1], HUB)
    written(tmp_path / "test.parquet", [0], HUB)
    source = opened(tmp_path)
    assert list(source.list_images()) == [
        ListedImage("train.parquet#0", "dog", "train"),
        ListedImage("train.parquet#1", "cat", "train"),
        ListedImage("train.parquet#2", "dog", "train"),
        ListedImage("test.parquet#0", "cat", "test"),
    ]
    assert source.classes == ["cat", "dog"]


def test_read_yields_the_bytes_of_the_requested_rows_across_row_groups(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [0, 1, 0, 1, 0], HUB)
    written(tmp_path / "test.parquet", [0, 1], HUB, shade=100)
    wanted = ["train.parquet#4", "test.parquet#1", "train.parquet#1", "train.parquet#4"]
    assert sorted(opened(tmp_path).read(wanted)) == [
        ("test.parquet#1", png(101)),
        ("train.parquet#1", png(1)),
        ("train.parquet#4", png(4)),
    ]


@pytest.mark.parametrize(
    "metadata",
    [
        HUB,
        {b"huggingface": json.dumps({"features": {"label": {"names": ["cat", "dog"]}}})},
        {b"classes": json.dumps(["cat", "dog"])},
        {b"class_names": "cat, dog"},
    ],
)
def test_class_names_are_read_from_any_usual_key_of_the_metadata(tmp_path: Path, metadata: dict) -> None:
    written(tmp_path / "train.parquet", [1, 0], metadata)
    assert [item.given_label for item in opened(tmp_path).list_images()] == ["dog", "cat"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["van", "car"], ["car", "van"]),
        ([10, 9], ["9", "10"]),
        ([2.0, 1.0], ["1", "2"]),
        ([True, False], ["False", "True"]),
    ],
)
def test_without_names_the_labels_are_the_class_names(tmp_path: Path, labels: list, classes: list[str]) -> None:
    written(tmp_path / "train.parquet", labels)
    assert opened(tmp_path).classes == classes


def test_a_class_file_names_the_numbers(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [1, 0], HUB)
    (tmp_path / "names.txt").write_text("Katze\nHund\n", encoding="utf-8")
    assert [item.given_label for item in opened(tmp_path, class_file="names.txt").list_images()] == ["Hund", "Katze"]


def test_names_that_do_not_fit_the_labels_are_not_used(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [1, 7], HUB)
    assert opened(tmp_path).classes == ["1", "7"]


def test_the_label_column_applies_to_train_and_test_falls_back_to_label(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [0, 1], HUB, worse=[1, 1])
    written(tmp_path / "test.parquet", [0], HUB)
    labels = {item.path: item.given_label for item in opened(tmp_path, label_column="worse").list_images()}
    assert labels == {"train.parquet#0": "dog", "train.parquet#1": "dog", "test.parquet#0": "cat"}


def test_a_column_without_names_never_takes_those_of_another(tmp_path: Path) -> None:
    for metadata in (HUB, {b"classes": json.dumps(["cat", "dog"])}):
        written(tmp_path / "train.parquet", [0, 1], metadata, colour=[1, 0])
        assert opened(tmp_path, label_column="colour").classes == ["0", "1"]


def test_several_labels_per_image_are_refused_in_words(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [[0, 1], [1]], HUB)
    with pytest.raises(UserError, match=r"'label' contains list.*one label per image"):
        opened(tmp_path)


def test_a_shard_that_no_split_takes_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train-00000-of-00001", "more-00000-of-00001"):
        written(tmp_path / f"{name}.parquet", [0, 1], HUB)
    assert len(list(opened(tmp_path).list_images())) == 2
    assert "more-00000-of-00001.parquet" in caplog.text
    assert "data.train" in caplog.text


@pytest.mark.parametrize("name", ["dev-00000-of-00001.parquet", "validation.parquet", "val/0000.parquet"])
def test_a_split_is_known_by_the_name_of_its_file_or_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "val").mkdir()
    written(tmp_path / "train.parquet", [0, 1], HUB)
    written(tmp_path / name, [0], HUB)
    assert list(opened(tmp_path).list_images())[-1] == ListedImage(f"{name}#0", "cat", "val")


def test_the_error_for_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [0, 1], HUB, worse=[1, 1])
    with pytest.raises(UserError, match=r"no column 'wors'; it has 'image', 'label', 'worse'\. Did you mean 'worse'"):
        opened(tmp_path, label_column="wors")
    with pytest.raises(UserError, match=r"no column 'img'.*Set data\.image_column"):
        opened(tmp_path, image_column="img")


@pytest.mark.parametrize("labels", [None, [-1, -1, -1], [None, None, None]])
def test_a_test_file_without_labels_contains_images_to_predict(tmp_path: Path, labels: list | None) -> None:
    written(tmp_path / "train.parquet", [0, 1], HUB)
    written(tmp_path / "test.parquet", labels, HUB)
    listed = [item for item in opened(tmp_path).list_images() if item.path.startswith("test")]
    assert listed == [ListedImage(f"test.parquet#{index}", None, "predict") for index in range(3)]


@pytest.mark.parametrize("labels", [None, [0, -1, 0]])
def test_images_of_val_without_a_label_are_set_aside(tmp_path: Path, labels: list | None) -> None:
    written(tmp_path / "train.parquet", [0, 1], HUB)
    written(tmp_path / "val.parquet", labels, HUB, shade=9)
    rows = build_manifest(opened(tmp_path), Data(), 0).rows.set_index("path")
    assert rows.loc["val.parquet#1", ["split", "action"]].tolist() == ["val", "drop"]
    assert rows["reason"]["val.parquet#1"].startswith("no label")


def test_a_train_row_without_a_label_is_unlabelled(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [0, None, 1], HUB)
    rows = build_manifest(opened(tmp_path), Data(), 0).rows
    assert rows["split"].tolist() == ["train", "unlabelled", "train"]


def test_cells_may_be_plain_bytes_and_a_missing_image_has_a_reason(tmp_path: Path) -> None:
    table = pa.table({"image": [png(1), png(2), None], "label": ["a", "b", "a"]})
    pq.write_table(table, tmp_path / "train.parquet")
    rows = build_manifest(opened(tmp_path), Data(), 0).rows
    assert rows["reason"].tolist() == ["", "", "broken: the table contains no bytes for this row"]


def test_a_pattern_selects_several_files_of_a_split(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for shard in range(2):
        written(tmp_path / f"data/train-0000{shard}.parquet", [0, 1], HUB)
    written(tmp_path / "data/dev.parquet", [1], HUB)
    listed = list(opened(tmp_path, train="data/train-*.parquet", val="data/dev.parquet").list_images())
    assert [item.path for item in listed if item.split == "train"] == [
        f"data/train-0000{shard}.parquet#{index}" for shard in range(2) for index in range(2)
    ]
    assert listed[-1] == ListedImage("data/dev.parquet#0", "dog", "val")


@pytest.mark.parametrize("test", ["test-*.parquet", ""])
def test_a_pattern_that_takes_all_files_leaves_those_of_another_split_to_it(tmp_path: Path, test: str) -> None:
    for name in ("train-0", "more-0", "test-0"):
        written(tmp_path / f"{name}.parquet", [0, 1], HUB)
    splits = {
        item.path.partition("-")[0]: item.split for item in opened(tmp_path, train="*.parquet", test=test).list_images()
    }
    assert splits == {"train": "train", "more": "train", "test": "test"}


def test_a_file_that_the_study_names_is_of_that_split_whatever_its_name_means(tmp_path: Path) -> None:
    for name in ("train", "test"):
        written(tmp_path / f"{name}.parquet", [0, 1], HUB)
    listed = opened(tmp_path, train="test.parquet", test="train.parquet").list_images()
    assert {(item.path.partition("#")[0], item.split) for item in listed} == {
        ("test.parquet", "train"), ("train.parquet", "test"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("val", "message"),
    [("train.parquet", "data.train and data.val both take train.parquet"), ("*.parquet", "data.val: each file")],
)
def test_a_file_named_for_two_splits_is_a_user_error(tmp_path: Path, val: str, message: str) -> None:
    for name in ("train", "test"):
        written(tmp_path / f"{name}.parquet", [0, 1], HUB)
    with pytest.raises(UserError, match=message):
        opened(tmp_path, train="train.parquet", val=val)


def test_the_error_for_a_missing_train_file_names_the_existing_files(tmp_path: Path) -> None:
    written(tmp_path / "all.parquet", [0, 1])
    with pytest.raises(UserError, match=r"contains no train\*\.parquet \(all\.parquet\).*data\.train"):
        opened(tmp_path)
    with pytest.raises(
        UserError, match=r"data\.train is missing: looked for .*al\.parquet\. Did you mean all\.parquet"
    ):
        opened(tmp_path, train="al.parquet")


def test_a_damaged_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match=r"train\.parquet .*damaged"):
        opened(tmp_path)


def test_only_the_rows_of_a_damaged_row_group_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    written(path, [0, 1, 0, 1], HUB)
    row_group = pq.read_metadata(path).row_group(1)
    content = bytearray(path.read_bytes())
    start = row_group.column(0).dictionary_page_offset or row_group.column(0).data_page_offset
    content[start : start + 12] = b"\xff" * 12
    path.write_bytes(content)
    rows = build_manifest(opened(tmp_path), Data(), 0).rows
    assert rows["action"].tolist() == ["none", "none", "drop", "drop"]
    assert rows["reason"].str.contains("damaged").tolist() == [False, False, True, True]


def test_the_digest_depends_on_every_file(tmp_path: Path) -> None:
    written(tmp_path / "train.parquet", [0, 1], HUB)
    written(tmp_path / "test.parquet", [0, 1], HUB)
    before = opened(tmp_path).digest()
    written(tmp_path / "test.parquet", [0, 1], HUB, shade=1)
    assert opened(tmp_path).digest() != before


@pytest.mark.data
def test_cifar10_has_its_noisy_and_its_clean_labels(real_data: Path, tmp_path: Path) -> None:
    """20,104 of the labels of CIFAR-10N "worse" are wrong (Wei et al. 2022); the test labels are the clean ones."""
    clean, worse = (
        {item.path: item for item in open_source(data, real_data, tmp_path).list_images()}
        for data in (
            Data(source="cifar10", path="cifar10"),
            Data(source="parquet", path="cifar10", label_column="worse"),
        )
    )
    assert len(clean) == len(worse) == 60000
    wrong = [path for path, item in clean.items() if item.given_label != worse[path].given_label]
    assert len(wrong) == 20104
    assert all(clean[path].split == "train" for path in wrong)
    assert clean["train.parquet#0"].given_label == "frog"  # the first image of CIFAR-10's first batch
