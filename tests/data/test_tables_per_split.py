"""Tables that each contain the rows of one split, and tables beside class folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decant.data.layout import split_of_table
from decant.data.sources import open_source
from decant.data.sources.detection import detected_data
from decant.errors import UserError
from decant.stages.support.expected_time import counted
from decant.study import Data

PNG = b"\x89PNG\r\n\x1a\n"
Places = dict[str, tuple[str | None, str | None]]


def put(root: Path, files: Mapping[str, str]) -> Path:
    """Write the tables, and images for names without content."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode() or PNG)
    return root


def places(photos: Path, **given: Any) -> Places:
    """Path -> label and split."""
    data = Data.model_validate(detected_data(photos, given))
    return {item.path: (item.given_label, item.split) for item in open_source(data, Path("/"), Path()).list_images()}


@pytest.mark.parametrize(
    ("path", "split"),
    [("train.csv", "train"), ("labels/Val_labels.csv", "val"), ("test-metadata.csv.gz", "test"),
     ("validation/metadata.csv", "val"), ("train/_classes.csv", "train"), ("labels.csv", None),
     ("train_test.csv", None), ("a/b.csv", None)],
)  # fmt: skip
def test_a_table_belongs_to_the_split_in_its_name_or_folder(path: str, split: str | None) -> None:
    assert split_of_table(path) == split


@pytest.mark.parametrize("image", ["images/{split}{number}.png", "{split}/images/{number}.png"])
@pytest.mark.parametrize("table", ["{split}.csv", "{split}/metadata.csv", "labels/{split}_labels.csv"])
def test_a_table_per_split_gives_labels_and_splits(tmp_path: Path, image: str, table: str) -> None:
    expected: Places = {}
    for split, known in (("train", "train"), ("validation", "val"), ("test", "test")):
        names = [image.format(split=split, number=number) for number in range(4)]
        labels = ["cat", "dog", "cat", "dog"]
        rows = [f"{Path(name).name},{label}" for name, label in zip(names, labels, strict=True)]
        put(tmp_path, dict.fromkeys(names, "") | {table.format(split=split): "\n".join(["file,label", *rows])})
        expected |= {name: (label, known) for name, label in zip(names, labels, strict=True)}
    assert places(tmp_path) == expected


@pytest.mark.parametrize("empty", [("", ""), (",label", ",")])
def test_a_test_table_without_labels_names_the_images_to_predict(tmp_path: Path, empty: tuple[str, str]) -> None:
    column, cell = empty
    train = "id,age,label\na1,5,cat\na2,6,dog\na3,5,cat\na4,6,dog\n"
    test = f"id,age{column}\n" + "".join(f"b{number},{number % 2}{cell}\n" for number in range(9))
    images = {f"img/{name}.png": "" for name in ("a1", "a2", "a3", "a4", *(f"b{number}" for number in range(9)))}
    found = places(put(tmp_path, {**images, "train.csv": train, "test.csv": test, "sample_submission.csv": test}))
    assert [found[f"img/a{number}.png"] for number in (1, 2)] == [("cat", "train"), ("dog", "train")]
    assert {found[f"img/b{number}.png"] for number in range(9)} == {(None, "predict")}


def test_an_image_in_the_test_folder_that_no_table_names_is_to_predict(tmp_path: Path) -> None:
    images = {f"{split}/{number}.png": "" for split in ("train", "test") for number in range(3)}
    tables = {f"{split}.csv": "file,label\n0.png,a\n1.png,b\n" for split in ("train", "test")}
    found = places(put(tmp_path, {**images, **tables}))
    assert (found["test/2.png"], found["train/2.png"]) == ((None, "predict"), (None, None))


def test_parquet_with_names_of_files_may_be_a_table_per_split(tmp_path: Path) -> None:
    for split in ("test", "train"):
        names = [f"img/{split}{number}.png" for number in range(4)]
        put(tmp_path, dict.fromkeys(names, ""))
        table = pa.table({"file": names, "label": ["cat", "dog"] * 2})
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    found = places(tmp_path)
    assert (found["img/test0.png"], found["img/train1.png"]) == (("cat", "test"), ("dog", "train"))


def test_an_image_in_two_tables_keeps_both_rows(tmp_path: Path) -> None:
    files = {f"{number}.png": "" for number in range(3)}
    tables = {"train.csv": "file,label\n0.png,a\n1.png,b\n", "val.csv": "file,label\n1.png,a\n2.png,b\n"}
    found = places(put(tmp_path, {**files, **tables}))
    assert found["1.png"] == ("b", "train")
    assert found["1.png#val.csv row 2"] == ("a", "val")


def test_rows_that_name_an_image_again_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = "".join(f"{number // 3}.png,{'ab'[number % 2]}\n" for number in range(9))
    places(put(tmp_path, {**{f"{number}.png": "" for number in range(3)}, "boxes.csv": f"file,label\n{boxes}"}))
    assert "6 of 9 rows of boxes.csv name an image again" in caplog.text
    assert "3 of them with another label" in caplog.text


FOLDERS = {f"patient {n}/{n}{image}.png": "" for n in range(3) for image in range(4)}


def table_of(labels: list[str]) -> str:
    rows = [f"{path},{labels[number % len(labels)]}" for number, path in enumerate(FOLDERS)]
    return "\n".join(["path,label", *rows])


def test_a_table_with_other_labels_than_the_folders_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, {**FOLDERS, "labels.csv": table_of(["ill", "well"])})
    assert {label for label, _ in places(tmp_path).values()} == {"patient 0", "patient 1", "patient 2"}
    assert "--set data.table=labels.csv" in caplog.text
    assert {label for label, _ in places(tmp_path, table="labels.csv").values()} == {"ill", "well"}


def test_a_table_with_the_names_of_the_folders_is_not_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "\n".join(["path,label", *(f"{path},{path.split('/')[0]}" for path in FOLDERS)])
    places(put(tmp_path, {**FOLDERS, "labels.csv": rows, "notes.csv": "a,b\n1,2\n"}))
    assert not caplog.records


def test_labels_of_test_in_a_table_beside_class_folders_are_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = {f"train/{label}/{number}.png": "" for label in ("cat", "dog") for number in range(3)}
    test = {f"test/{number}.png": "" for number in range(4, 8)}
    rows = "file,label\n4.png,cat\n5.png,dog\n6.png,cat\n7.png,dog\n"
    assert places(put(tmp_path, {**train, **test, "test.csv": rows}))["test/4.png"] == (None, "predict")
    assert "--set data.table=test.csv" in caplog.text


def test_texts_beside_class_folders_are_no_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "\n".join(["path,text", *(f"{path},a photo of {number}" for number, path in enumerate(FOLDERS))])
    places(put(tmp_path, {**FOLDERS, "metadata.csv": rows}))
    assert not caplog.records


def test_a_parquet_file_without_images_beside_class_folders_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, FOLDERS)
    pq.write_table(pa.table({"x": [1.0], "y": [2.0]}), tmp_path / "embeddings.parquet")
    assert detected_data(tmp_path, {})["source"] == "folder"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1/a.png": "", "2/b.png": "", "names.json": "{}"}, r"names\.json is not read.*data\.source=folder"),
        ({"data-00000-of-00001.arrow": "x", "state.json": "{}"}, r"\.arrow is not read.*to_parquet"),
        ({"labels.csv": "file,label\n1.png,a\n"}, "no image file lies in"),
        ({"img/z.png": "", "t.csv": "file,label\nzebra,a\n"}, r"'img/z\.png' for example.*'zebra'.*id_column"),
        ({"img/a.png": "", "img/b.png": "", "img/c.png": "", "t.csv": "a,cat\nb,dog\nc,cat\n"}, "no header.*'a'"),
        ({"a.png": "", "b.png": "", "t.csv": "id,cat,dog\na,True,False\nb,False,True\n"}, "a column per class"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_read_are_an_error_that_names_what_mends_it(
    tmp_path: Path, files: Mapping[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        places(put(tmp_path, files))


def test_percent_encoded_names_are_decoded(tmp_path: Path) -> None:
    rows = "file,label\nmy%20car.png,car\nmy%20bus.png,bus\n50%25.png,car\n"
    found = places(put(tmp_path, {"my car.png": "", "my bus.png": "", "50%.png": "", "labels.csv": rows}))
    assert found == {"my car.png": ("car", None), "my bus.png": ("bus", None), "50%.png": ("car", None)}


@pytest.mark.parametrize("name", ["nan", "None", "NA", "NULL"])
def test_a_class_with_the_name_of_a_missing_value_is_warned_of(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = f"file,label\n0.png,{name}\n1.png,car\n2.png,{name}\n3.png,car\n"
    found = places(put(tmp_path, {**{f"{number}.png": "" for number in range(4)}, "labels.csv": rows}))
    assert found["0.png"] == (name, None)
    assert f"'{name}' is read as a class" in caplog.text


def test_labels_in_a_table_of_unlabelled_images_are_not_read(tmp_path: Path) -> None:
    images = {f"img/{name}{number}.png": "" for name in "ab" for number in range(2)}
    tables = {
        "train.csv": "file,label\na0.png,cat\na1.png,dog\n",
        "unlabeled.csv": "file,label\nb0.png,cat\nb1.png,fox\n",
    }
    put(tmp_path, {**images, **tables})
    source = open_source(
        Data(source="csv", path=str(tmp_path), table=list(tables), id_column="file"), Path("/"), Path()
    )
    assert source.classes == ["cat", "dog"]
    assert {item.given_label for item in source.list_images() if item.path.startswith("img/b")} == {None}
    assert counted(source.list_images(), Data()).unlabelled == 2
