"""The images that a file is verified on: splits, labels, decoding, and a report of every unreadable file."""

import io
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from decant.data import containers, images
from decant.data.images import decode
from decant.errors import UserError
from decant.export.verification.images import ImageFiles

CLASSES = ["bus", "Straßenbähn", "train"]
RNG = np.random.default_rng(0)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise() -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


PHOTO = encoded(noise())
MODES = {
    "rgb.png": PHOTO,
    "rgb.jpg": encoded(noise(), "JPEG"),
    "grey.jpg": encoded(noise().convert("L"), "JPEG"),
    "palette.gif": encoded(noise().quantize(16), "GIF"),
    "transparent_palette.png": encoded(noise().quantize(16), transparency=3),
    "alpha.png": encoded(noise().convert("RGBA").rotate(30)),
    "grey_alpha.png": encoded(noise().convert("RGBA").rotate(30).convert("LA")),
    "cmyk.jpg": encoded(noise().convert("CMYK"), "JPEG"),
    "sixteen.png": encoded(Image.fromarray(RNG.integers(0, 65536, (9, 14), dtype=np.uint16))),
    "bilevel.png": encoded(noise().convert("1")),
    "float.tif": encoded(noise().convert("F"), "TIFF"),
    **{f"exif{number}.jpg": encoded(noise(), "JPEG", exif=turned(number)) for number in (2, 3, 6, 8)},
}
AS_USERS_OPEN_THEM = ("rgb", "grey.", "palette", "bilevel", "cmyk", "exif")  # as in the README's snippet


def laid_out(where: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files, or a zip if `where` ends in .zip."""
    if where.suffix == ".zip":
        with zipfile.ZipFile(where, "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
        return where
    for path, data in files.items():
        (where / path).parent.mkdir(parents=True, exist_ok=True)
        (where / path).write_bytes(data)
    return where


def photos(paths: Iterable[str]) -> dict[str, bytes]:
    return dict.fromkeys(paths, PHOTO)


@pytest.mark.parametrize("name", ["folder", "photos.zip"])
def test_every_mode_is_decoded_as_in_training_and_nothing_is_unpacked(tmp_path: Path, name: str) -> None:
    where = laid_out(tmp_path / name, MODES)
    paths_before = sorted(tmp_path.rglob("*"))
    files = ImageFiles(where)
    decoded = dict(files)
    assert decoded.keys() == MODES.keys() and len(files) == len(MODES) and files.broken == {}
    for path, image in decoded.items():
        np.testing.assert_array_equal(image, decode(MODES[path]), err_msg=path)
        if path.startswith(AS_USERS_OPEN_THEM):
            opened = ImageOps.exif_transpose(Image.open(io.BytesIO(MODES[path]))).convert("RGB")
            np.testing.assert_array_equal(image, np.asarray(opened), err_msg=path)
    assert sorted(tmp_path.rglob("*")) == paths_before


@pytest.mark.parametrize("name", ["folder", "photos.zip"])
def test_class_folders_are_labels_and_other_folders_are_reported(tmp_path: Path, name: str) -> None:
    decomposed = unicodedata.normalize("NFD", "Straßenbähn")
    paths = ["bus/1.png", "bus/deeper/2.png", f"{decomposed}/3.png", "lorry/4.png", "5.png"]
    files = ImageFiles(laid_out(tmp_path / name, photos(paths)), CLASSES)
    assert files.labels == {"bus/1.png": "bus", "bus/deeper/2.png": "bus", f"{decomposed}/3.png": "Straßenbähn"}
    assert files.unknown == ["lorry"] and files.split is None
    assert {path for path, _ in files} == set(paths)


def test_val_is_the_default_split_if_it_exists(tmp_path: Path) -> None:
    paths = ["set/train/bus/1.png", "set/validation/bus/2.png", "set/validation/train/3.png", "set/test/4.png"]
    where = laid_out(tmp_path / "photos.zip", photos(paths))
    files = ImageFiles(where, CLASSES)
    assert files.split == "val"
    assert files.labels == {"set/validation/bus/2.png": "bus", "set/validation/train/3.png": "train"}
    assert [path for path, _ in ImageFiles(where, CLASSES, "train")] == ["set/train/bus/1.png"]
    assert [path for path, _ in ImageFiles(where, CLASSES, "test")] == ["set/test/4.png"]
    with pytest.raises(UserError, match=r"no folder for the split 'predict'; it has test, train, val"):
        ImageFiles(where, CLASSES, "predict")


def test_a_class_folder_with_the_name_of_a_split_is_a_class(tmp_path: Path) -> None:
    files = ImageFiles(laid_out(tmp_path / "photos", photos(["train/1.png", "bus/2.png"])), CLASSES)
    assert files.labels == {"train/1.png": "train", "bus/2.png": "bus"} and files.split is None


def test_a_single_class_folder_is_not_stripped_from_the_paths(tmp_path: Path) -> None:
    files = ImageFiles(laid_out(tmp_path / "photos", photos(["all/bus/2020/1.png", "all/bus/2021/2.png"])), CLASSES)
    assert set(files.labels.values()) == {"bus"} and len(files.labels) == 2


@pytest.mark.parametrize("name", ["folder", "photos.zip"])
def test_unreadable_files_are_reported_with_the_reason(tmp_path: Path, name: str) -> None:
    broken = {"cut.png": PHOTO[:300], "empty.jpg": b"", "page.jpg": b"<!doctype html><html></html>"}
    where = laid_out(tmp_path / name, {"fine.png": PHOTO, "notes.txt": b"not an image", **broken})
    files = ImageFiles(where)
    for _ in range(2):  # a second iteration does not report files twice
        assert [path for path, _ in files] == ["fine.png"]
        assert files.broken.keys() == broken.keys()
    assert files.broken["empty.jpg"] == "empty file" and "web page" in files.broken["page.jpg"]


def test_a_folder_without_readable_images_is_a_user_error(tmp_path: Path) -> None:
    files = ImageFiles(laid_out(tmp_path / "photos", {"cut.png": PHOTO[:300]}))
    with pytest.raises(UserError, match=r"none of the 1 images .* can be read; cut\.png: "):
        list(files)
    with pytest.raises(UserError, match="contains no image"):
        ImageFiles(laid_out(tmp_path / "papers", {"notes.txt": b"words"}))
    with pytest.raises(UserError, match="does not exist"):
        ImageFiles(tmp_path / "nowhere")


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = laid_out(tmp_path / "photos.zip", {"fine.png": PHOTO, "large.png": encoded(Image.new("L", (900, 900)))})
    monkeypatch.setattr(images, "MAX_PIXELS", 800 * 900)
    files = ImageFiles(where)
    assert [path for path, _ in files] == ["fine.png"] and "image bomb" in files.broken["large.png"]
    monkeypatch.setattr(containers, "MAX_FILE_BYTES", len(PHOTO) - 1)
    assert "more than" in ImageFiles(where).container.entries["fine.png"].problem
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 1000)
    with pytest.raises(UserError, match="archive bomb"):
        ImageFiles(where)


def test_paths_that_lead_out_of_the_archive_are_reported_and_not_read(tmp_path: Path) -> None:
    files = ImageFiles(laid_out(tmp_path / "photos.zip", photos(["a/1.png", "../../out.png"])))
    assert [path for path, _ in files] == ["a/1.png"]
    assert files.broken == {"../../out.png": "its name leads out of the archive"}
