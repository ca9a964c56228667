"""A table and its images: every row and every image is listed, and each row has the right image."""

import io
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from decant.data.manifest import build_manifest, draw_splits
from decant.data.sources import open_source
from decant.data.sources.base import ListedImage, Source
from decant.errors import UserError
from decant.study import Data


def png(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), tuple(zlib.crc32(name.encode()).to_bytes(4)[:3])).save(file, "PNG")
    return file.getvalue()


def packed(root: Path, table: str, *names: str) -> None:
    """data.zip with the images `names` and train.csv."""
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        archive.writestr("train.csv", table)
        for name in names:
            archive.writestr(name, png(name))


def opened(root: Path, **options: object) -> Source:
    settings = {"source": "csv", "path": "data.zip", "table": "train.csv", **options}
    return open_source(Data(**settings), root, root / "work")  # type: ignore[arg-type]


def items(source: Source) -> dict[str, ListedImage]:
    listed = list(source.list_images())
    assert len({item.path for item in listed}) == len(listed)
    return {item.path: item for item in listed}


def labels(source: Source) -> dict[str, str | None]:
    return {path: item.given_label for path, item in items(source).items()}


def test_the_layout_of_a_kaggle_archive(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1.png,car\n2.png,van\n", "train/1.png", "train/2.png", "test/3.png")
    source = opened(tmp_path, images="train", predict="test")
    assert list(source.list_images()) == [
        ListedImage("train/1.png", "car", None),
        ListedImage("train/2.png", "van", None),
        ListedImage("test/3.png", None, "predict"),
    ]
    assert source.classes == ["car", "van"]


@pytest.mark.parametrize(
    "name", ["1", "1.png", "car/1.png", "car/1", "train/car/1.png", "./train/car/1.png", "car\\1.png", "1.PNG"]
)
def test_a_row_may_name_its_image_in_many_ways(tmp_path: Path, name: str) -> None:
    packed(tmp_path, f"id,label\n{name},car\n2,van\n", "train/car/1.png", "train/van/2.png")
    assert labels(opened(tmp_path, images="train")) == {"train/car/1.png": "car", "train/van/2.png": "van"}


def test_folders_that_wrap_everything_are_ignored(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("contest/v2/train.csv", "id,label\n1,car\n")
        archive.writestr("contest/v2/photos/1.png", png("1"))
    assert labels(opened(tmp_path, images="photos")) == {"photos/1.png": "car"}


def test_an_id_with_a_dot_and_no_extension_is_matched(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\ncam.1,car\ncam.2,van\n", "cam.1.png", "cam.2.png")
    assert labels(opened(tmp_path)) == {"cam.1.png": "car", "cam.2.png": "van"}


def test_composed_and_decomposed_letters_are_the_same_name(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\nK\u00fcbel,car\n", "Ku\u0308bel.png")  # macOS stores decomposed letters
    assert labels(opened(tmp_path)) == {"Ku\u0308bel.png": "car"}


def test_a_row_whose_image_is_missing_has_a_problem(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,car\n9,van\n", "1.png")
    lost = items(opened(tmp_path))["9#row 3"]
    assert (lost.given_label, lost.problem) == ("van", "the table names '9', but no such file exists")


def test_a_name_that_matches_two_images_is_assigned_to_neither(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,car\n2,van\n", "a/1.png", "b/1.png", "a/2.png")
    listed = items(opened(tmp_path))
    assert listed["1#row 2"].problem == "2 files are called '1': a/1.png, b/1.png"
    assert listed["a/1.png"].given_label is None
    assert listed["b/1.png"].given_label is None


def test_an_image_without_a_row_is_unlabelled(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,car\n2,van\n", "1.png", "2.png", "3.png")
    manifest = build_manifest(opened(tmp_path), Data(), 0).rows.set_index("path")
    assert manifest["split"]["3.png"] == "unlabelled"


@pytest.mark.parametrize("empty", ["", "  ", '""'])
def test_a_row_without_a_label_is_unlabelled(tmp_path: Path, empty: str) -> None:
    packed(tmp_path, f"id,label\n1,car\n2,{empty}\n3,van\n", "1.png", "2.png", "3.png")
    manifest = build_manifest(opened(tmp_path), Data(), 0).rows.set_index("path")
    assert manifest["split"]["2.png"] == "unlabelled"
    assert manifest["label"]["2.png"] is None


def test_a_repeated_row_is_set_aside_and_a_conflicting_label_is_kept_for_cleaning(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,car\n1.png,car\n2,van\n2,car\n", "1.png", "2.png")
    source = opened(tmp_path)
    rows = build_manifest(source, Data(), 0).rows.set_index("path")
    assert rows["reason"]["1.png#row 3"] == "broken: the table names it twice (rows 2 and 3)"
    assert rows["action"]["2.png#row 5"] == "none"
    assert rows["label"][["2.png", "2.png#row 5"]].tolist() == ["van", "car"]
    assert rows["content"]["2.png"] == rows["content"]["2.png#row 5"]
    assert dict(source.read(["2.png#row 5", "2.png"])) == {"2.png": png("2.png"), "2.png#row 5": png("2.png")}


def test_the_error_for_a_missing_column_names_the_existing_and_the_nearest(tmp_path: Path) -> None:
    packed(tmp_path, "id,make,body\n1,VW,van\n", "1.png")
    with pytest.raises(UserError, match=r"no column 'bdy'; it has 'id', 'make', 'body'\. Did you mean 'body'\?"):
        opened(tmp_path, label_column="bdy")
    with pytest.raises(UserError, match=r"Set data\.id_column"):
        opened(tmp_path, label_column="body", id_column="file")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "is empty"),
        ("id,id\n1,2\n", "has a column name twice"),
        ("id,label\n1,car,red\n", "row 2: 3 cells, but the header has 2"),
    ],
)
def test_a_malformed_table_is_an_error(tmp_path: Path, table: str, message: str) -> None:
    packed(tmp_path, table, "1.png")
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_tables_may_have_any_delimiter_and_encoding_of_spreadsheets(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    packed(tmp_path, "unused", "1.png", "2.png")
    text = f"id{delimiter}label\r\n1{delimiter}Coupé\r\n2{delimiter}van\r\n"
    (tmp_path / "beside.csv").write_bytes(text.encode(encoding))
    assert opened(tmp_path, table="beside.csv").classes == ["Coupé", "van"]


def test_a_class_file_names_numbered_classes(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,0\n2,10\n3,2\n", "1.png", "2.png", "3.png")
    assert opened(tmp_path).classes == ["0", "2", "10"]  # in numerical order
    (tmp_path / "names.txt").write_text("\n".join("abcdefghijk"))
    assert labels(opened(tmp_path, class_file="names.txt")) == {"1.png": "a", "2.png": "k", "3.png": "c"}


def test_the_error_for_a_missing_image_folder_names_the_existing(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,car\n", "train/1.png")
    with pytest.raises(UserError, match=r"'trian' .* contains no image\. Folders with images: train"):
        opened(tmp_path, images="trian")


def test_the_error_for_a_missing_table_names_the_places_searched(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,car\n", "1.png")
    with pytest.raises(UserError, match=r"the table \(not in .*data\.zip either\) is missing: .*labels\.csv"):
        opened(tmp_path, table="labels.csv")
    with pytest.raises(UserError, match=r"data\.table must name"):
        opened(tmp_path, table="")


def test_a_table_beside_the_archive_is_part_of_the_digest(tmp_path: Path) -> None:
    packed(tmp_path, "unused", "1.png")
    digests = set()
    for label in ("car", "van"):
        (tmp_path / "labels.csv").write_text(f"id,label\n1,{label}\n")
        digests.add(opened(tmp_path, table="labels.csv").digest())
    assert len(digests) == 2


def test_a_row_is_not_matched_to_an_image_to_predict(tmp_path: Path) -> None:
    packed(tmp_path, "id,label\n1,car\n", "test_upload/1.png", "train/car/1.png")
    listed = items(opened(tmp_path, predict="test_upload"))
    assert listed["train/car/1.png"].given_label == "car"
    assert listed["test_upload/1.png"] == ListedImage("test_upload/1.png", None, "predict")


@pytest.mark.data
@pytest.mark.parametrize(
    ("column", "classes", "counts"),
    [
        ("body", 9, {"train": 3704, "val": 794, "test": 794, "predict": 2456, "unlabelled": 396}),
        ("make", 49, {"train": 3974, "val": 857, "test": 857, "predict": 2456}),
    ],
)
def test_the_cars_have_a_row_for_every_image(
    real_data: Path, tmp_path: Path, column: str, classes: int, counts: dict[str, int]
) -> None:
    data = Data(
        source="csv",
        path="cars.zip",
        table="train.csv",
        label_column=column,
        images="train",
        predict="test",
        sample_submission=f"sample_submission_{column}.csv",
    )
    source = open_source(data, real_data, tmp_path)
    manifest = draw_splits(build_manifest(source, data, 0), 0, 0.15, 0.15)
    assert manifest.rows["split"].value_counts().to_dict() == counts
    assert len(manifest.classes) == classes
    assert (source.sample_submission() or b"").startswith(f"id,{column}".encode())
