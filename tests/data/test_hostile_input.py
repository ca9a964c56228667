"""Hostile and damaged input and failing disks: a clear error, or a row with a reason; no file is lost."""

import io
import os
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from decant.data import containers
from decant.data.manifest import Manifest, build_manifest
from decant.data.sources import open_source
from decant.data.sources.base import Source
from decant.errors import UserError
from decant.study import Data


def png(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), tuple(zlib.crc32(name.encode()).to_bytes(4)[:3])).save(file, "PNG")
    return file.getvalue()


def zipped(root: Path, *names: str) -> Path:
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for name in names:
            archive.writestr(name, png(name))
    return root / "data.zip"


def tarred(root: Path, members: list[tarfile.TarInfo], mode: str = "w") -> Path:
    """data.tar with two good images and `members`; each regular file contains an image."""
    path = root / ("data.tar.gz" if mode == "w:gz" else "data.tar")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info in [tarfile.TarInfo("a/1.png"), tarfile.TarInfo("b/1.png"), *members]:
            content = png(info.name) if info.isfile() else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def opened(path: Path) -> Source:
    return open_source(Data(source="folder", path=path.name), path.parent, path.parent / "work")


def built(path: Path) -> Manifest:
    """The manifest, after a check that it has one row for each file that the source lists."""
    source = opened(path)
    manifest = build_manifest(source, Data(), 0)
    assert manifest.rows["path"].tolist() == [item.path for item in source.list_images()]
    return manifest


def reasons(path: Path) -> dict[str, str]:
    rows = built(path).rows
    return dict(zip(rows["path"], rows["reason"], strict=True))


OUTSIDE = ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "..\\evil.png"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_zip_member_that_leads_out_has_a_row_with_a_reason(tmp_path: Path, name: str) -> None:
    reason_of = reasons(zipped(tmp_path, "a/1.png", "b/1.png", name))
    assert reason_of.pop(name.replace("\\", "/")) == "broken: its name leads out of the archive"
    assert reason_of == {"a/1.png": "", "b/1.png": ""}


@pytest.mark.parametrize("name", OUTSIDE[:4])
def test_a_tar_member_that_leads_out_has_a_row_with_a_reason(tmp_path: Path, name: str) -> None:
    reason_of = reasons(tarred(tmp_path, [tarfile.TarInfo(name)]))
    assert reason_of == {"a/1.png": "", "b/1.png": "", name: "broken: its name leads out of the archive"}


def test_nothing_is_written_beside_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    built(zipped(folder, "a/1.png", "b/1.png", "../evil.png"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["data.zip"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_tar_is_not_followed(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("a/link.png")
    link.type, link.linkname = kind, "a/1.png"
    assert reasons(tarred(tmp_path, [link]))["a/link.png"] == "broken: a link in the archive, not followed"


def test_a_link_in_a_zip_is_not_followed(tmp_path: Path) -> None:
    path = zipped(tmp_path, "a/1.png", "b/1.png")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("a/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert reasons(path)["a/link.png"] == "broken: a link in the archive, not followed"


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_device_in_a_tar_is_not_opened(tmp_path: Path, kind: bytes) -> None:
    device = tarfile.TarInfo("a/device.png")
    device.type = kind
    assert reasons(tarred(tmp_path, [device]))["a/device.png"] == "broken: not a regular file in the archive"


def test_the_last_of_two_members_with_one_name_is_used_and_the_first_has_a_row_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b/1.png", png("b"))
        archive.writestr("a/1.png", png("first"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/1.png", png("last"))
    reason_of = reasons(path)
    assert set(reason_of) == {"a/1.png", "a/1.png (earlier copy 1)", "b/1.png"}
    assert "more than once" in reason_of["a/1.png (earlier copy 1)"]
    assert dict(opened(path).read(["a/1.png"])) == {"a/1.png": png("last")}


def test_an_encrypted_member_has_a_row_with_a_reason(tmp_path: Path) -> None:
    path = zipped(tmp_path, "a/1.png", "b/1.png", "a/secret.png")
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.rindex(signature)  # the last member's
        data[at + flags] |= 1
    path.write_bytes(data)
    assert reasons(path)["a/secret.png"] == "broken: encrypted in the archive"


def test_a_member_whose_bytes_are_damaged_has_a_row_with_a_reason(tmp_path: Path) -> None:
    path = zipped(tmp_path, "a/1.png", "b/1.png", "a/2.png")
    data = bytearray(path.read_bytes())
    data[data.index(png("a/2.png")) + 20] ^= 0xFF
    path.write_bytes(data)
    reason_of = reasons(path)
    assert reason_of.pop("a/2.png").startswith("broken: damaged in the archive: Bad CRC-32")
    assert set(reason_of.values()) == {""}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_tar_is_an_error(tmp_path: Path, mode: str) -> None:
    noise = [tarfile.TarInfo(f"a/{number}.png") for number in range(2, 30)]
    path = tarred(tmp_path, noise, mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - 7])
    with pytest.raises(UserError, match="truncated, damaged"):
        built(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"?", "neither a folder nor a readable zip or tar"),
        (b"PK\x03\x04", "may be damaged"),
        (b"<html>404</html>", "a web page.*fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"7z\xbc\xaf\x27\x1c", "7z.*Unpack it"),
        (b"Rar!\x1a\x07", "RAR.*Unpack it"),
        (b"\x28\xb5\x2f\xfd", "zstd.*Unpack it"),
        (b"\xff\xd8\xff\xe0", "single image"),
    ],
)
def test_a_file_that_is_not_an_archive_is_an_error_that_names_its_kind(
    tmp_path: Path, start: bytes, message: str
) -> None:
    path = tmp_path / "data.zip"
    path.write_bytes(start + bytes(40))
    with pytest.raises(UserError, match=message):
        opened(path)


@pytest.mark.parametrize("mode", ["zip", "w:gz"])
def test_an_archive_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(containers, "RATIO_MATTERS_BYTES", 1 << 20)
    zeros = bytes(1 << 22)
    path = tmp_path / "data.bomb"
    if mode == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/1.png", zeros)
    else:
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("a/1.png")
            info.size = len(zeros)
            tar.addfile(info, io.BytesIO(zeros))
    with pytest.raises(UserError, match="archive bomb"):
        opened(path)


def test_an_archive_that_is_too_large_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 100)
    with pytest.raises(UserError, match="unpack it yourself"):
        opened(zipped(tmp_path, "a/1.png", "b/1.png"))


def test_a_file_that_is_too_large_for_an_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path, "a/1.png", "b/1.png")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/huge.png", bytes(5000))
    monkeypatch.setattr(containers, "MAX_FILE_BYTES", 4000)
    assert reasons(path)["a/huge.png"] == "broken: 5000 bytes, more than 4000"


def test_an_image_bomb_has_a_row_with_a_reason(tmp_path: Path) -> None:
    path = zipped(tmp_path, "a/1.png", "b/1.png")
    bomb = bytearray(png("bomb"))
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/bomb.png", bytes(bomb))
    rows = built(path).rows.set_index("path")
    assert "an image bomb?" in rows["reason"]["a/bomb.png"]
    assert rows["width"]["a/bomb.png"] == 0


def in_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_bytes(png(name))
    return root / "data"


def test_an_unreadable_folder_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, because tests may run as root, who may read everything."""
    path = in_folder(tmp_path, "a/1.png", "b/1.png")
    real = os.scandir

    def refusing(folder: str) -> object:
        if str(folder).endswith("/b"):
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=r"folder .*/b cannot be read: Permission denied"):
        opened(path)


def test_an_unreadable_file_has_a_row_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = in_folder(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    real = Path.read_bytes

    def refusing(self: Path) -> bytes:
        if self.name == "2.png":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    assert reasons(path)["b/2.png"] == "broken: cannot be read: Permission denied"


def test_reading_a_file_that_was_deleted_after_the_manifest_is_an_error(tmp_path: Path) -> None:
    path = in_folder(tmp_path, "a/1.png", "b/1.png")
    source = opened(path)
    build_manifest(source, Data(), 0)
    (path / "a/1.png").unlink()
    with pytest.raises(UserError, match=r"a/1\.png .* can no longer be read"):
        list(source.read(["a/1.png"]))


def test_links_on_disk_are_followed_unless_broken_or_circular(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = in_folder(tmp_path, "a/1.png", "b/1.png")
    (path / "a/linked.png").symlink_to(path / "b/1.png")
    (path / "a/broken.png").symlink_to(path / "nowhere.png")
    (path / "a/circle").symlink_to(path)
    (path / "itself").symlink_to("itself")
    reason_of = reasons(path)
    assert reason_of.pop("a/broken.png") == "broken: cannot be read: No such file or directory (a link)"
    assert reason_of == {"a/1.png": "", "a/linked.png": "", "b/1.png": ""}
    assert "link to a folder above it" in caplog.text


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    path = in_folder(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(path / "a/pipe.png")  # reading it would block for ever
    assert reasons(path)["a/pipe.png"] == "broken: not a regular file"


def test_a_file_whose_name_is_not_utf8_has_a_row_and_can_be_read(tmp_path: Path) -> None:
    path = in_folder(tmp_path, "a/1.png", "b/1.png")
    os.rename(path / "a/1.png", os.fsencode(path / "a") + b"/caf\xe9.png")
    assert reasons(path) == {"a/caf\\xe9.png": "", "b/1.png": ""}
    assert dict(opened(path).read(["a/caf\\xe9.png"])) == {"a/caf\\xe9.png": png("a/1.png")}


def test_one_image_in_two_class_folders_keeps_both_rows(tmp_path: Path) -> None:
    path = in_folder(tmp_path, "a/1.png", "b/1.png")
    (path / "b/same.png").write_bytes((path / "a/1.png").read_bytes())
    rows = built(path).rows.set_index("path")
    assert rows["content"]["a/1.png"] == rows["content"]["b/same.png"]
    assert (rows["action"] == "none").all()
    assert rows["label"].tolist() == ["a", "b", "b"]


@pytest.mark.parametrize("names", [("a/1.png", "a/2.png"), ("1.png", "2.png")])
def test_fewer_than_two_classes_is_an_error(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"too few classes.*2 images were found"):
        built(in_folder(tmp_path, *names))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="contains no image"):
        built(tmp_path / "data")


def tarred_and_packed(root: Path, *names: str) -> Path:
    return tarred(root, [tarfile.TarInfo(name) for name in names[2:]], "w:gz")


@pytest.mark.parametrize("pack", [zipped, tarred_and_packed])
def test_a_damaged_archive_gives_rows_or_a_user_error(tmp_path: Path, pack: Callable[..., Path]) -> None:
    draw = random.Random(0)
    path = pack(tmp_path, "a/1.png", "b/1.png", *(f"a/{number}.png" for number in range(2, 6)))
    whole = path.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(3):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            built(path)
        except UserError as error:
            assert str(path) in str(error) or "too few classes" in str(error)
