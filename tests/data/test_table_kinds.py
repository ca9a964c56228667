"""Tables and Parquet files of many kinds, from the path alone to the labels of the manifest."""

import base64
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from decant.data.manifest import build_manifest
from decant.data.sources import open_source
from decant.data.sources import tables as tables_module
from decant.data.sources.detection import detected_data
from decant.data.sources.tables import read_table
from decant.errors import UserError
from decant.study import Data

LABELS = ["dog", "cat"] * 3
CSV = "file,label\n" + "".join(f"{number}.png,{label}\n" for number, label in enumerate(LABELS))


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), shade).save(file, "PNG")
    return file.getvalue()


PNGS = [png(number) for number in range(len(LABELS))]


def folder_with(root: Path, name: str, table: bytes) -> Path:
    """A folder with a table and the images that it names."""
    (root / "img").mkdir()
    for number, content in enumerate(PNGS):
        (root / "img" / f"{number}.png").write_bytes(content)
    (root / name).write_bytes(table)
    return root


def labels(photos: Path, **given: Any) -> list[str | None]:
    """The labels of the images 0 … 5, as the manifest of the detected section has them."""
    data = Data.model_validate(detected_data(photos, given))
    rows = build_manifest(open_source(data, Path("/"), Path()), data, 0).rows
    assert rows["action"].tolist() == ["none"] * len(rows)
    return rows.sort_values("path")["label"].tolist()


def rows_of(table: str) -> str:
    """CSV with other cells between the name and the label of each row."""
    header, *lines = CSV.splitlines()
    return "\n".join([header.replace(",", ",note,"), *(line.replace(",", f",{table},") for line in lines)]) + "\n"


KINDS = {
    "utf-8 mark": CSV.encode("utf-8-sig"),
    "utf-16 mark": CSV.encode("utf-16"),
    "utf-32 mark": CSV.encode("utf-32"),
    "semicolon": CSV.replace(",", ";").encode(),
    "tab": CSV.replace(",", "\t").encode(),
    "pipe": CSV.replace(",", "|").encode(),
    "crlf": CSV.replace("\n", "\r\n").encode(),
    "old Mac": CSV.replace("\n", "\r").encode(),
    "blank lines": f"\n\r\n{CSV}\n".encode(),
    "spaces and quotes": CSV.replace(",", ' , "')
    .replace("\n", '"\n')
    .replace('file , "label"', "file, label")
    .encode(),
    "comma at the end": CSV.replace("\n", ",\n").encode(),
    "line breaks in quotes": rows_of('"one,\ntwo"').encode(),
    "row numbers": "".join(f"{n or 'Unnamed: 0'},{line}\n" for n, line in enumerate(CSV.splitlines())).encode(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_csv_of_any_kind_gives_the_labels(tmp_path: Path, kind: str) -> None:
    assert labels(folder_with(tmp_path, "labels.csv", KINDS[kind])) == LABELS


@pytest.mark.parametrize("name", ["labels.tsv", "LABELS.TSV", "labels.csv.gz", "labels.txt"])
def test_a_table_is_known_by_its_extension(tmp_path: Path, name: str) -> None:
    table = CSV.replace(",", "\t").encode()
    folder_with(tmp_path, name, gzip.compress(table) if name.endswith("gz") else table)
    assert labels(tmp_path / name) == LABELS
    if not name.endswith(".txt"):  # a text file in a folder may contain anything
        assert labels(tmp_path) == LABELS


def test_a_column_of_splits_is_found_and_used(tmp_path: Path) -> None:
    cells = ["Training", "Training", "Training", "valid", "testing", "testing"]
    lines = [f"{line},{cell}" for line, cell in zip(CSV.splitlines(), ["set", *cells], strict=True)]
    data = Data.model_validate(detected_data(folder_with(tmp_path, "labels.csv", "\n".join(lines).encode()), {}))
    found = open_source(data, Path("/"), Path()).list_images()
    assert [item.split for item in found] == ["train", "train", "train", "val", "test", "test"]
    with pytest.raises(UserError, match=r"data\.split_column\), row 2: unknown split 'dog'"):
        open_source(data.model_copy(update={"split_column": "label"}), Path("/"), Path())
    assert "split_column" not in detected_data(tmp_path, {"split_file": "mine.csv"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("\n".join(CSV.splitlines()[1:]), r"no header.*'0\.png'"),
        ("file,label\n", r"no row below its header \(file, label\)"),
        ("file,label,note,note\n0.png,cat,1,2\n", "'note'.*Rename"),
        ("# made by hand\n" + CSV, r"row 2: .*header has 1 \(# made by hand\).*delete lines above"),
        (CSV.replace("1.png,cat", '1.png,"cat'), r"row 3: a quotation mark is never closed"),
        (CSV.replace("1.png,cat", f"1.png,{'x' * 140_000}"), r"line 3.*leave the column out"),
        (CSV.replace(",", " "), r"'file label'.*separates"),
        ("file,cat,dog\n0.png,0,1\n1.png,1,0\n2.png,0,1\n", r"a column per class \(cat, dog\).*idxmax"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_that_says_what_to_do(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        labels(folder_with(tmp_path, "labels.csv", table.encode()))


def test_an_unusable_table_beside_a_good_one_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    assert labels(folder_with(tmp_path, "labels.csv", CSV.encode())) == LABELS


@pytest.mark.parametrize("name", ["labels.xlsx", "annotations.json", "metadata.jsonl"])
def test_labels_in_a_file_that_is_not_read_are_an_error(tmp_path: Path, name: str) -> None:
    photos = folder_with(tmp_path, name, b"{}")
    for path in (photos, photos / name):
        with pytest.raises(UserError, match=rf"{name} is not read.*save it as CSV"):
            detected_data(path, {})


def test_a_table_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "LARGEST_TABLE", 1000)
    with pytest.raises(UserError, match="unpacks to more"):
        read_table(gzip.compress(CSV.encode() * 100), "t.csv.gz")
    with pytest.raises(UserError, match="damaged"):
        read_table(gzip.compress(CSV.encode())[:-9], "t.csv.gz")


BYTES = {
    "binary": pa.array(PNGS),
    "large": pa.array(PNGS, pa.large_binary()),
    "view": pa.array(PNGS, pa.binary_view()),
    "dictionary": pa.array(PNGS).dictionary_encode(),
    "struct": pa.array([{"bytes": content, "path": "x.png"} for content in PNGS]),
}
TEXTS = {
    "text": pa.array(LABELS),
    "large": pa.array(LABELS, pa.large_string()),
    "dictionary": pa.array(LABELS).dictionary_encode(),
    "bytes": pa.array([label.encode() for label in LABELS]),
}


@pytest.mark.parametrize("cells", BYTES)
@pytest.mark.parametrize("texts", TEXTS)
def test_images_and_labels_of_any_arrow_type(tmp_path: Path, cells: str, texts: str) -> None:
    pq.write_table(pa.table({"image": BYTES[cells], "label": TEXTS[texts]}), tmp_path / "TRAIN.PARQUET")
    assert labels(tmp_path) == labels(tmp_path / "TRAIN.PARQUET") == LABELS


@pytest.mark.parametrize("names", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_with_names_of_files_is_a_table(tmp_path: Path, names: pa.DataType) -> None:
    folder_with(tmp_path, "labels.parquet", b"")
    files = pa.array([f"img/{number}.png" for number in range(6)]).cast(names)
    pq.write_table(pa.table({"image": files, "label": LABELS}), tmp_path / "labels.parquet")
    assert labels(tmp_path) == labels(tmp_path / "labels.parquet") == LABELS


def test_a_missing_label_in_parquet_is_an_unlabelled_image(tmp_path: Path) -> None:
    table = {"image": PNGS, "label": pa.array([None, *LABELS[1:]]).dictionary_encode()}
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    assert labels(tmp_path) == [None, *LABELS[1:]]


def test_parquet_without_bytes_says_what_is_needed(tmp_path: Path) -> None:
    coded = [base64.b64encode(content).decode() for content in PNGS]
    pq.write_table(pa.table({"image": coded, "label": LABELS}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"no column of bytes \(image: string, label: string\)"):
        labels(tmp_path)
    paths = [{"bytes": None, "path": f"{number}.png"} for number in range(6)]
    pq.write_table(pa.table({"image": paths, "label": LABELS}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"6 × broken: .*not its bytes.*data\.source: csv"):
        labels(tmp_path)
