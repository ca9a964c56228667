"""The layout of photos of which only the path is known."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from decant.data.sources import open_source
from decant.data.sources.detection import detected_data
from decant.errors import UserError
from decant.study import Data

Files = Mapping[str, "bytes | str"]


def png(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[[Files], Path]:
    def write(files: Files) -> Path:
        for name, content in files.items():
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "photos"

    return write


def zipped(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return target


def labels(photos: Path, **given: Any) -> dict[str, tuple[str | None, str | None]]:
    """Path -> label and split, of the source that the detected section opens."""
    data = Data.model_validate(detected_data(photos, given))
    return {item.path: (item.given_label, item.split) for item in open_source(data, Path("/"), Path()).list_images()}


CLASSES = {"cat/0.png": png(), "cat/1.png": png(1), "dog/0.png": png(2)}
TABLE = {f"images/{n}.png": png(n) for n in range(6)}
ROWS = "id,breed,age\n" + "".join(f"{n},{'cat' if n % 2 else 'dog'},{n * 7}\n" for n in range(6))


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders(folder_of: Callable[[Files], Path], packed: bool) -> None:
    photos = folder_of(CLASSES)
    assert set(labels(zipped(photos) if packed else photos).values()) == {("cat", None), ("dog", None)}


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_within_finds_its_columns(folder_of: Callable[[Files], Path], packed: bool) -> None:
    photos = folder_of({**TABLE, "train.csv": ROWS})
    found = labels(zipped(photos) if packed else photos)
    assert found["0.png" if "0.png" in found else "images/0.png"] == ("dog", None)
    assert len(found) == 6


def test_a_table_beside_the_class_folders_is_passed_over(folder_of: Callable[[Files], Path]) -> None:
    assert labels(folder_of({**CLASSES, "notes.csv": "file,who\n0.png,me\n"}))["dog/0.png"] == ("dog", None)


def test_the_path_of_a_table_itself(folder_of: Callable[[Files], Path]) -> None:
    photos = folder_of({**TABLE, "train.csv": ROWS, "other.csv": "a,b\n1,2\n"})
    assert {label for label, _ in labels(photos / "train.csv").values()} == {"cat", "dog"}


def test_a_test_folder_and_a_sample_submission_are_found(folder_of: Callable[[Files], Path]) -> None:
    files = {**{name.replace("images", "train"): content for name, content in TABLE.items()}, "train.csv": ROWS,
             "test/9.png": png(9), "sample_submission.csv": "id,breed\n9,cat\n"}  # fmt: skip
    keys = detected_data(folder_of(files), {})
    assert (keys["images"], keys["predict"], keys["sample_submission"]) == ("train", "test", "sample_submission.csv")
    assert labels(folder_of(files))["test/9.png"] == (None, "predict")


def test_two_columns_that_may_be_the_label_are_a_question(folder_of: Callable[[Files], Path]) -> None:
    rows = "id,left,right\n" + "".join(f"{n},{'ab'[n % 2]},{'xy'[n // 3]}\n" for n in range(6))
    photos = folder_of({**TABLE, "train.csv": rows})
    with pytest.raises(UserError, match=r"data\.label_column=COLUMN \(left, right\)"):
        detected_data(photos, {})
    assert {label for label, _ in labels(photos, label_column="right").values()} == {"x", "y"}


def test_a_table_that_names_no_file_is_refused(folder_of: Callable[[Files], Path]) -> None:
    with pytest.raises(UserError, match=r"data\.id_column"):
        detected_data(folder_of({**TABLE, "train.csv": "name,label\nzebra,a\nlion,b\n"}), {})


@pytest.mark.parametrize("as_file", [False, True])
def test_parquet(tmp_path: Path, as_file: bool) -> None:
    cells = [{"bytes": png(n), "path": f"{n}.png"} for n in range(4)]
    table = pa.table({"id": [1, 2, 3, 4], "img": cells, "species": ["a", "b", "a", "b"]})
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set" / "data.parquet")
    photos = tmp_path / "set" / "data.parquet" if as_file else tmp_path / "set"
    assert [label for label, _ in labels(photos).values()] == ["a", "b", "a", "b"]


def test_what_is_given_is_not_looked_for(folder_of: Callable[[Files], Path]) -> None:
    keys = detected_data(folder_of({**TABLE, "train.csv": ROWS}), {"source": "folder", "val_fraction": 0.2})
    assert keys["source"] == "folder" and keys["val_fraction"] == 0.2


def test_paths_of_another_machine_and_a_code_page_are_matched(folder_of: Callable[[Files], Path]) -> None:
    rows = "id,label\n" + "".join(f"C:\\\\me\\\\images\\\\{n}.png,{'汽车' if n % 2 else '卡车'}\n" for n in range(6))
    photos = folder_of({**TABLE, "labels.csv": rows.replace("\\\\", "\\").encode("gbk")})
    assert {label for label, _ in labels(photos, table_encoding="gbk").values()} == {"汽车", "卡车"}


def test_parquet_files_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pa.table({"image": [png(n) for n in range(4)], "label": ["cat", "dog"] * 2})
    for name in ("train", "validation"):
        pq.write_table(table, tmp_path / "data" / f"{name}-00000-of-00001.parquet")
    assert {split for _, split in labels(tmp_path).values()} == {"train", "val"}
