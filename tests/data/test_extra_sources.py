"""Extra sources: their images join the manifest for training alone, with the study's classes."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from decant.data.manifest import EXTRA, Manifest, build_manifest, read_manifest, write_manifest
from decant.data.sources import open_source
from decant.errors import UserError
from decant.study import Data
from decant.study_reading import load_study

MAIN = ("train/car/1.png", "train/car/2.png", "train/van/1.png", "val/car/3.png", "val/van/2.png", "test/car/4.png")

MORE = ("train/car/1.png", "train/van/1.png", "val/van/2.png", "test/car/1.png")


def png(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), tuple(zlib.crc32(name.encode()).to_bytes(4)[:3])).save(file, "PNG")
    return file.getvalue()


def packed(path: Path, *names: str, **files: bytes) -> None:
    """A zip of images, a different one for each zip and name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, png(path.name + name))
        for name, content in files.items():
            archive.writestr(name, content)


def data_of(*extra: dict[str, Any], **keys: Any) -> Data:
    return Data.model_validate({"source": "folder", "path": "main.zip", "extra": list(extra), **keys})


def manifest_of(root: Path, *extra: dict[str, Any], **keys: Any) -> Manifest:
    data = data_of(*extra, **keys)
    return build_manifest(open_source(data, root, root / "work"), data, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    packed(tmp_path / "main.zip", *MAIN)
    packed(tmp_path / "more.zip", *MORE)
    return tmp_path


def extra_rows(manifest: Manifest) -> pd.DataFrame:
    return manifest.rows[manifest.is_extra()]


def test_labelled_images_are_of_train_whatever_the_source_calls_their_split(root: Path) -> None:
    rows = extra_rows(manifest_of(root, {"path": "more.zip"}))
    assert sorted(zip(rows["label"], rows["split"], strict=True)) == 2 * [("car", "train")] + 2 * [("van", "train")]


def test_without_labels_wanted_none_is_kept(root: Path) -> None:
    packed(root / "other.zip", "tram/1.png", "bus/1.png")
    rows = extra_rows(manifest_of(root, {"path": "other.zip", "split": "unlabelled"}))
    assert set(rows["split"]) == {"unlabelled"}
    assert rows["given_label"].isna().all()


def test_images_in_no_class_folder_are_unlabelled(root: Path) -> None:
    packed(root / "flat.zip", "1.png", "2.png")
    assert list(extra_rows(manifest_of(root, {"path": "flat.zip"}))["split"]) == ["unlabelled"] * 2


def test_the_rows_of_the_main_source_are_those_without_extra_sources(root: Path) -> None:
    alone, joined = manifest_of(root), manifest_of(root, {"path": "more.zip"})
    pd.testing.assert_frame_equal(joined.main().rows, alone.rows)
    assert EXTRA not in alone.rows.columns
    assert len(joined.rows) == len(MAIN) + len(MORE)


def test_equal_names_in_several_sources_have_ids_and_bytes_of_their_own(root: Path) -> None:
    data = data_of({"path": "more.zip"}, {"path": "more.zip", "split": "unlabelled"})
    source = open_source(data, root, root / "work")
    rows = build_manifest(source, data, 0).rows
    assert rows["id"].is_unique
    assert list(rows[EXTRA]) == [0] * 6 + [1] * 4 + [2] * 4
    read = dict(source.read(list(rows["path"])))
    own = {name: png("main.zip" + name) for name in MAIN}
    assert {name: read[name] for name in MAIN} == own
    extra = [path for path in read if path not in own]
    assert sorted(read[path] for path in extra) == sorted(2 * [png("more.zip" + name) for name in MORE])


def test_no_name_in_the_main_source_collides_with_an_extra_image(tmp_path: Path) -> None:
    names = ("car/1.png", "van/1.png", "extra1:car/1.png", "extra1_:car/1.png", "extra_1:car/1.png")
    packed(tmp_path / "main.zip", *names)
    packed(tmp_path / "more.zip", "car/1.png", "van/1.png")
    data = data_of({"path": "more.zip"}, splits="none", class_names={"extra1:car": "car"})
    source = open_source(data, tmp_path, tmp_path / "work")
    rows = build_manifest(source, data, 0).rows
    assert rows["id"].is_unique
    read = dict(source.read(list(rows["path"])))
    assert sorted(read.values()) == sorted(
        [png("main.zip" + name) for name in names] + [png("more.zip" + name) for name in ("car/1.png", "van/1.png")]
    )


def test_a_class_that_the_study_lacks_is_an_error_with_the_nearest_one_and_the_key(root: Path) -> None:
    packed(root / "other.zip", "cars/1.png", "van/1.png")
    with pytest.raises(UserError, match=r"'cars'.*did you mean car\?.*data\.extra\.1\.class_names"):
        manifest_of(root, {"path": "more.zip"}, {"path": "other.zip"})


def test_class_names_map_a_class_and_an_empty_name_leaves_it_out(root: Path) -> None:
    packed(root / "other.zip", "Auto/1.png", "tram/1.png")
    rows = extra_rows(manifest_of(root, {"path": "other.zip", "class_names": {"Auto": "car", "tram": ""}}))
    assert rows.set_index("given_label").loc["car", "action"] == "none"
    assert rows.set_index("given_label").loc["tram", "action"] == "drop"
    assert "leaves out" in rows.set_index("given_label").loc["tram", "reason"]


def test_a_class_is_the_same_however_its_accents_are_written(tmp_path: Path) -> None:
    packed(tmp_path / "main.zip", "café/1.png", "bar/1.png")
    packed(tmp_path / "more.zip", "Kneipe/1.png", "cafe\u0301/2.png")
    rows = extra_rows(manifest_of(tmp_path, {"path": "more.zip", "class_names": {"Kneipe": "cafe\u0301"}}))
    assert list(rows["label"]) == ["café", "café"]


@pytest.mark.parametrize(
    ("names", "named"), [({"Auto": "cra"}, "did you mean car"), ({"auto": "car"}, "'auto' is not a class")]
)
def test_a_wrong_map_of_classes_is_an_error(root: Path, names: dict[str, str], named: str) -> None:
    packed(root / "other.zip", "Auto/1.png", "van/1.png")
    with pytest.raises(UserError, match=named):
        manifest_of(root, {"path": "other.zip", "class_names": names})


def test_a_class_needs_an_image_of_the_main_source_to_train_on(root: Path) -> None:
    packed(root / "main.zip", *MAIN, "val/bus/1.png")
    packed(root / "other.zip", "bus/1.png", "car/1.png")
    joined, alone = manifest_of(root, {"path": "other.zip"}), manifest_of(root)
    assert joined.classes == alone.classes == ["car", "van"]
    assert extra_rows(joined).set_index("given_label").loc["bus", "action"] == "drop"


def test_a_table_is_an_extra_source_with_columns_of_its_own(root: Path) -> None:
    packed(root / "table.zip", "a.png", "b.png", "c.png", **{"labels.csv": b"file;kind\na;car\nb;van\n"})
    extra = {"source": "csv", "path": "table.zip", "table": "labels.csv", "id_column": "file", "label_column": "kind"}
    rows = extra_rows(manifest_of(root, extra))
    assert dict(zip(rows["path"], rows["label"], strict=True)) == {
        "extra1:a.png": "car",
        "extra1:b.png": "van",
        "extra1:c.png": None,
    }


@pytest.mark.parametrize("label_column", ["label", ""])
def test_a_parquet_file_is_an_extra_source_with_or_without_labels(root: Path, label_column: str) -> None:
    (root / "table").mkdir()
    columns = {"image": [png("x"), png("y")], **({"label": ["car", "van"]} if label_column else {})}
    pq.write_table(pa.table(columns), root / "table" / "train.parquet")
    rows = extra_rows(manifest_of(root, {"source": "parquet", "path": "table", "label_column": label_column}))
    assert list(rows["label"]) == (["car", "van"] if label_column else [None, None])


def test_the_limit_applies_to_each_extra_source_and_leaves_the_main_choice(root: Path) -> None:
    packed(root / "many.zip", *(f"{label}/{n}.png" for label in ("car", "van") for n in range(9)))
    joined, alone = manifest_of(root, {"path": "many.zip"}, limit=2), manifest_of(root, limit=2)
    assert extra_rows(joined)["label"].value_counts().to_dict() == {"car": 2, "van": 2}
    assert list(joined.main().rows["path"]) == list(alone.rows["path"])


def test_a_hostile_archive_is_read_as_a_main_one(root: Path) -> None:
    packed(root / "bad.zip", "car/1.png", "../van/2.png", **{"van/3.png": b"no image", "van/4.png": png("ok")[:40]})
    rows = extra_rows(manifest_of(root, {"path": "bad.zip"}))
    reasons = dict(zip(rows["path"], rows["action"], strict=True))
    assert len(rows) == 4
    assert [path for path, action in reasons.items() if action == "none"] == ["extra1:car/1.png"]


def test_a_missing_archive_names_the_extra_source(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.extra\.1 .*mor\.zip.*Did you mean more\.zip"):
        manifest_of(root, {"path": "more.zip"}, {"path": "mor.zip"})


def test_the_digest_depends_on_the_extra_archive(root: Path) -> None:
    def digest() -> str:
        return open_source(data_of({"path": "more.zip"}), root, root / "work").digest()

    first = digest()
    assert digest() == first
    packed(root / "more.zip", "train/car/9.png")
    assert digest() != first


def test_a_manifest_with_extra_rows_is_read_as_it_was_written(root: Path) -> None:
    manifest = manifest_of(root, {"path": "more.zip"})
    write_manifest(manifest, root)
    pd.testing.assert_frame_equal(read_manifest(root).rows, manifest.rows)


def test_an_unknown_key_of_an_extra_source_names_the_nearest(root: Path) -> None:
    with pytest.raises(UserError, match=r"unknown key data\.extra\.0\.pth; did you mean path\?"):
        load_study("demo", ["data.extra=[{pth: more.zip}]"])
