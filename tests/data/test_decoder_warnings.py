"""What Pillow warns of is recorded for its image, is counted, and puts no line on the console."""

import io
import logging
import warnings
from pathlib import Path

import pytest
from PIL import Image

from decant.data import manifest as manifest_module
from decant.data.containers import open_container
from decant.data.decoder_warnings import recorded_warnings, taken_warnings
from decant.data.manifest import Manifest, build_manifest
from decant.data.sources.folder import FolderSource
from decant.study import Data

DAMAGED_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\xff\xff\0\0\x06"


def jpeg(shade: int, exif: bytes = b"") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (shade, 0, 0)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def folder(where: Path) -> Path:
    """Two classes of 20 images; every third has damaged EXIF, and one of these cannot be decoded."""
    for number in range(40):
        file = where / ("cat", "dog")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(jpeg(6 * number, DAMAGED_EXIF if number % 3 == 0 else b""))
    broken = where / "cat" / "0.jpg"
    broken.write_bytes(broken.read_bytes()[:-40])
    return where


def built(where: Path, workers: int) -> Manifest:
    return build_manifest(FolderSource(open_container(where), where), Data(), 0, workers=workers)


@pytest.mark.parametrize("workers", [1, 4])
def test_each_image_with_damaged_metadata_has_a_reason_and_is_used(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifest_module, "BATCH_IMAGES", 3)
    rows = built(folder(tmp_path), workers).rows
    number = rows["path"].str.extract(r"(\d+)\.jpg")[0].astype(int)
    warned = rows["reason"].str.startswith("warning: Corrupt EXIF data.")
    assert set(number[warned]) == set(range(3, 40, 3))
    assert set(rows["action"][warned]) == {"none"}
    assert rows["reason"][number == 0].tolist() == ["broken: the file is truncated"]
    assert set(rows["reason"][~warned & (number != 0)]) == {""}
    assert capfd.readouterr() == ("", "")


def test_one_line_gives_their_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        built(folder(tmp_path), 2)
    assert [record.message.split()[:3] for record in caplog.records] == [["13", "of", "40"]]


def test_other_warnings_are_shown_as_before() -> None:
    with pytest.warns(UserWarning, match="of other code"), recorded_warnings():
        warnings.warn("of other code", UserWarning, stacklevel=1)
    assert taken_warnings() == []
