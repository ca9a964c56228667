"""Tables as spreadsheets and other machines write them: code pages, lost zeros, paths of other places, labels."""

import io
import logging
import zlib
from pathlib import Path

import pytest
import yaml
from PIL import Image

from decant.data.images import RAW_EXTENSIONS
from decant.data.manifest import build_manifest
from decant.data.sources import open_source
from decant.data.sources.tables import read_table, text_of
from decant.errors import UserError
from decant.study import Data

WORDS = {
    "gbk": "自行车,汽车,卡车",
    "shift_jis": "くるま,トラック,バイク",
    "cp1251": "машина,грузовик,велосипед",
    "cp1252": "Coupé,Kübelwagen,façade",
    "utf-16": "école,汽车,bus",
    "utf-16-le": "école,汽车,bus",
}


def put(root: Path, name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), tuple(zlib.crc32(name.encode()).to_bytes(4)[:3])).save(file, "PNG")
    (root / "imgs" / name).parent.mkdir(parents=True, exist_ok=True)
    (root / "imgs" / name).write_bytes(file.getvalue())


def labels(root: Path, table: str, **options: object) -> dict[str, str | None]:
    """Path -> label of the rows that are kept; images in `imgs`, the table beside them."""
    (root / "t.csv").write_text(table, encoding="utf-8")
    data = Data(source="csv", path=".", table="t.csv", **options)  # type: ignore[arg-type]
    rows = build_manifest(open_source(data, root, root / "work"), data, 0).kept()
    return dict(zip(rows["path"], rows["label"], strict=True))


@pytest.mark.parametrize("encoding", WORDS)
def test_a_code_page_is_recognised_and_one_line_says_so(encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    table = "id,label\n" + "".join(f"{n},{word}\n" for n, word in enumerate(WORDS[encoding].split(",")))
    assert [row["label"] for row in read_table(table.encode(encoding), "t.csv")] == WORDS[encoding].split(",")
    guessed = not encoding.startswith("utf")
    assert [record.message.count("data.table_encoding") for record in caplog.records] == [1] * guessed


def test_a_named_code_page_is_used_and_a_wrong_one_is_an_error() -> None:
    content = "id,label\n1,škoda\n".encode("cp1250")
    assert read_table(content, "t.csv", "cp1250")[0]["label"] == "škoda"
    for wrong in ("utf-8", "cp12500"):
        with pytest.raises(UserError, match=r"data\.table_encoding"):
            read_table(content, "t.csv", wrong)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"])
def test_a_workbook_called_csv_is_refused_in_words(start: bytes) -> None:
    with pytest.raises(UserError, match="Save it as CSV"):
        text_of(start + bytes(50), "t.csv")


@pytest.mark.parametrize(
    "table", ["id,label,,\n1,a,,\n", ",id,label\n0,1,a\n", "sep=;\nid;label\n1;a\n", "id|label\n1|a\n"]
)
def test_columns_without_a_name_are_left_out_and_separators_are_found(table: str) -> None:
    assert read_table(table.encode(), "t.csv") == [{"id": "1", "label": "a"}]


@pytest.mark.parametrize("missing", ["", "nan", "NaN"])
def test_integers_that_were_stored_as_floats_are_whole_again(tmp_path: Path, missing: str) -> None:
    for number in range(4):
        put(tmp_path, f"{number}.png")
    table = f"id,label\n0,0.0\n1,1.0\n2,{missing}\n3,10.0\n"
    expected = {"imgs/0.png": "0", "imgs/1.png": "1", "imgs/2.png": None, "imgs/3.png": "10"}
    assert labels(tmp_path, table) == expected
    (tmp_path / "names.txt").write_text("\n".join("abcdefghijk"))
    assert labels(tmp_path, table, class_file="names.txt")["imgs/3.png"] == "k"


@pytest.mark.parametrize("values", [("0.5", "1.0"), ("nan", "car"), ("True", "False")])
def test_other_labels_are_class_names_unchanged(tmp_path: Path, values: tuple[str, str]) -> None:
    put(tmp_path, "0.png")
    put(tmp_path, "1.png")
    assert list(labels(tmp_path, f"id,label\n0,{values[0]}\n1,{values[1]}\n").values()) == list(values)


def test_lost_zeros_are_matched_where_that_is_unambiguous(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("0001.png", "0002.png", "07.png", "007.png"):
        put(tmp_path, name)
    with caplog.at_level(logging.INFO):
        found = labels(tmp_path, "id,label\n1,a\n2,b\n7,a\n")
    assert (found["imgs/0001.png"], found["imgs/0002.png"]) == ("a", "b")
    assert "2 rows of t.csv name files by numbers" in caplog.text
    assert "1 of 3 rows of t.csv name no image: 2 files are called '7': imgs/007.png, imgs/07.png" in caplog.text


@pytest.mark.parametrize(
    "prefix", ["/home/me/set/imgs/", "C:\\Users\\me\\imgs\\", "../input/set/imgs/", "/kaggle/other/"]
)
def test_paths_of_another_machine_are_matched_by_their_end(
    tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "x/1.png")
    put(tmp_path, "y/1.png")
    separator = "\\" if "\\" in prefix else "/"
    with caplog.at_level(logging.INFO):
        found = labels(tmp_path, f"id,label\n{prefix}x{separator}1.png,a\n{prefix}y{separator}1.png,b\n")
    assert found == {"imgs/x/1.png": "a", "imgs/y/1.png": "b"}
    assert caplog.text.count("matched by their end") == 1


def test_the_folder_of_a_path_is_not_ignored_where_it_differs_between_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a/1.png", "b/2.png"):
        put(tmp_path, name)
    found = labels(tmp_path, "id,label\na/1.png,x\nb/2.png,y\nc/1.png,y\n")
    assert found == {"imgs/a/1.png": "x", "imgs/b/2.png": "y"}
    assert "1 of 3 rows of t.csv name no image: the table names 'c/1.png'" in caplog.text


def test_a_table_that_names_no_image_is_an_error_with_both_names(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    with pytest.raises(UserError, match=r"2 of 2 rows .*'x'.*'imgs/1\.png'.*data\.id_column"):
        labels(tmp_path, "id,label\nx,a\ny,b\n")


def test_a_line_break_in_a_label_is_an_error_and_class_names_mends_it(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    put(tmp_path, "2.png")
    table = 'id,label\n1,"Sedan\nfour doors"\n2,van\n'
    with pytest.raises(UserError, match=r'data\.class_names: \{"Sedan\\nfour doors": "Sedan four doors"\}'):
        labels(tmp_path, table)
    mended = labels(tmp_path, table, class_names={"Sedan\nfour doors": "Sedan"})
    assert mended == {"imgs/1.png": "Sedan", "imgs/2.png": "van"}


def test_the_key_that_mends_a_label_is_yaml_that_names_it(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    label = 'a\0"b\\\x85c'
    doubled = label.replace('"', '""')
    with pytest.raises(UserError) as error:
        labels(tmp_path, f'id,label\n1,"{doubled}"\n')
    mend = str(error.value).partition("data.class_names: ")[2]
    assert [*yaml.safe_load(mend)] == [label] and mend.isprintable()


def test_a_class_name_that_is_no_class_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    with pytest.raises(UserError, match=r"data\.class_names: 'lory' is not a class"):
        labels(tmp_path, "id,label\n1,lorry\n", class_names={"lory": "truck"})


@pytest.mark.parametrize("extension", ["jxl", "svg", "psd", "dcm", *sorted(RAW_EXTENSIONS)[:4]])
def test_formats_that_are_not_read_are_listed_with_a_reason(tmp_path: Path, extension: str) -> None:
    for label in "ab":
        put(tmp_path, f"{label}/1.png")
    put(tmp_path, f"a/2.{extension}")  # a RAW file often begins like a TIFF that Pillow could open
    (tmp_path / f"imgs/a/3.{extension}").write_bytes(b"II*\0" + bytes(60))
    data = Data(source="folder", path="imgs")
    rows = build_manifest(open_source(data, tmp_path, tmp_path), data, 0).rows.set_index("path")
    assert len(rows) == 4
    assert rows["action"][f"a/3.{extension}"] == "drop"
    assert rows["reason"][f"a/3.{extension}"].startswith("broken: ")
