"""Auxiliary columns: further labels of a table, row by row in the manifest."""

import io
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from decant.data.manifest import AUXILIARY, COLUMNS, Manifest, build_manifest, read_manifest, write_manifest
from decant.data.sources import open_source
from decant.errors import UserError
from decant.study import Data

TABLE = "id,label,make,year\n1,car,Audi,1999.0\n2,van,,2004.0\n3,car,Ford,\n4,van,Ford,2004.0\n"


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def manifest_of(root: Path, **keys: object) -> Manifest:
    data = Data.model_validate({"source": "csv", "path": "cars.zip", "table": "train.csv", **keys})
    return build_manifest(open_source(data, root, root / "work"), data, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "cars.zip", "w") as archive:
        archive.writestr("train.csv", TABLE)
        for number in range(1, 6):
            archive.writestr(f"{number}.png", png(40 * number))
    return tmp_path


def test_each_row_has_its_own_further_labels_and_none_where_they_are_missing(root: Path) -> None:
    rows = manifest_of(root, auxiliary_columns=["make", "year"]).rows.set_index("path")
    assert rows[AUXILIARY + "make"].to_dict() == {
        "1.png": "Audi", "2.png": None, "3.png": "Ford", "4.png": "Ford", "5.png": None,
    }  # fmt: skip
    assert list(rows[AUXILIARY + "year"])[:3] == ["1999", "2004", None]


def test_the_other_columns_are_those_without_the_key(root: Path) -> None:
    alone, further = manifest_of(root), manifest_of(root, auxiliary_columns=["make"])
    assert list(alone.rows.columns) == COLUMNS
    pd.testing.assert_frame_equal(further.rows[COLUMNS], alone.rows)


def test_they_are_read_as_they_were_written(root: Path) -> None:
    manifest = manifest_of(root, auxiliary_columns=["make", "year"])
    write_manifest(manifest, root)
    pd.testing.assert_frame_equal(read_manifest(root).rows, manifest.rows)


def test_a_column_that_the_table_lacks_is_an_error_with_the_nearest_one(root: Path) -> None:
    with pytest.raises(UserError, match=r"'maker'.*Did you mean 'make'.*data\.auxiliary_columns"):
        manifest_of(root, auxiliary_columns=["maker"])


def test_a_folder_has_no_columns(root: Path) -> None:
    with pytest.raises(UserError, match="folder has none; use csv or parquet"):
        manifest_of(root, source="folder", auxiliary_columns=["make"])


def test_a_parquet_file_may_have_them_and_a_test_file_may_lack_them(tmp_path: Path) -> None:
    images = [png(40 * number) for number in range(4)]
    train = {"image": images[:3], "label": ["car", "van", "car"], "make": ["Audi", None, "Ford"]}
    pq.write_table(pa.table(train), tmp_path / "train.parquet")
    pq.write_table(pa.table({"image": images[3:], "label": ["car"]}), tmp_path / "test.parquet")
    rows = manifest_of(tmp_path, source="parquet", path=".", auxiliary_columns=["make"]).rows
    assert list(rows[AUXILIARY + "make"]) == ["Audi", None, "Ford", None]
