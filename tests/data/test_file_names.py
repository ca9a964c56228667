"""Names in archives that are not marked as Unicode."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from decant.data.containers import open_container
from decant.data.file_names import warn_of_foreign_names
from decant.errors import UserError


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


class Raw(zipfile.ZipInfo):
    """A member whose name is written in a code page, without the UTF-8 flag."""

    encoding = "utf-8"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def zipped(root: Path, encoding: str, *names: str) -> Path:
    path = root / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = Raw(name)
            info.encoding = encoding
            archive.writestr(info, png())
    warn_of_foreign_names.cache_clear()
    return path


def test_names_without_the_flag_are_utf8_where_they_decode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = zipped(tmp_path, "utf-8", "école/1.png", "汽车/1.png")
    assert sorted(open_container(path).entries) == sorted(["école/1.png", "汽车/1.png"])
    assert not caplog.records


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "汽车"), ("shift_jis", "くるま"), ("cp1251", "машина"), ("cp1252", "façade")]
)
def test_another_code_page_is_warned_of_once_and_the_key_reads_it(
    tmp_path: Path, encoding: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = zipped(tmp_path, encoding, f"{name}/1.png", f"{name}/2.png")
    for _ in range(2):
        assert len(open_container(path).entries) == 2
    assert [record.message.count("data.zip_encoding") for record in caplog.records] == [1]
    assert f"{encoding}: {name}/1.png" in caplog.text
    named = open_container(path, encoding=encoding)
    assert sorted(named.entries) == [f"{name}/1.png", f"{name}/2.png"]
    assert dict(named.contents([f"{name}/2.png"])) == {f"{name}/2.png": png()}


def test_the_key_reads_the_names_of_a_tar_too(tmp_path: Path) -> None:
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w", encoding="gbk", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("汽车/1.png")
        info.size = len(png())
        archive.addfile(info, io.BytesIO(png()))
    assert list(open_container(path, encoding="gbk").entries) == ["汽车/1.png"]


@pytest.mark.parametrize("encoding", ["gkb", "utf-8", "rot13"])
def test_an_encoding_that_does_not_exist_or_fit_is_an_error(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(UserError, match=r"data\.zip_encoding"):
        _ = open_container(zipped(tmp_path, "gbk", "汽车/1.png"), encoding=encoding).entries
