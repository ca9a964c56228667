"""Folders, and archives of them: every packing gives the same rows."""

import io
import logging
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from decant.data.manifest import build_manifest, draw_splits
from decant.data.sources import open_source
from decant.data.sources.base import Source
from decant.errors import UserError
from decant.study import Data

Rows = dict[str, tuple[str | None, str | None]]


def png(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), tuple(zlib.crc32(name.encode()).to_bytes(4)[:3])).save(file, "PNG")
    return file.getvalue()


def as_folder(root: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return "data"


def as_zip(root: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return "data.zip"


def as_tar(root: Path, files: dict[str, bytes], name: str = "data.tar", mode: str = "w") -> str:
    with tarfile.open(root / name, mode) as archive:  # type: ignore[call-overload]
        for member, content in files.items():
            info = tarfile.TarInfo("./" + member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return name


def as_tar_gz(root: Path, files: dict[str, bytes]) -> str:
    return as_tar(root, files, "data.tar.gz", "w:gz")


def pngs(*names: str) -> dict[str, bytes]:
    return {name: png(name) for name in names}


def opened(root: Path, path: str, **options: object) -> Source:
    return open_source(Data(source="folder", path=path, **options), root, root / "work")  # type: ignore[arg-type]


def rows(source: Source) -> Rows:
    return {item.path: (item.given_label, item.split) for item in source.list_images()}


PACKINGS = [as_folder, as_zip, as_tar, as_tar_gz]


@pytest.mark.parametrize("pack", PACKINGS)
def test_labels_are_the_names_of_the_class_folders(tmp_path: Path, pack: Callable[..., str]) -> None:
    source = opened(tmp_path, pack(tmp_path, pngs("bus/1.png", "car/1.png", "car/deeper/still/2.JPG")))
    assert source.classes == ["bus", "car"]
    assert rows(source) == {
        "bus/1.png": ("bus", None),
        "car/1.png": ("car", None),
        "car/deeper/still/2.JPG": ("car", None),
    }


@pytest.mark.parametrize("pack", PACKINGS)
def test_split_folders_may_have_any_case_and_test_may_have_no_labels(tmp_path: Path, pack: Callable[..., str]) -> None:
    names = ("set/Train/car/1.png", "set/Train/bus/1.png", "set/VALID/car/2.png", "set/test/9.png")
    assert rows(opened(tmp_path, pack(tmp_path, pngs(*names)))) == {
        "Train/car/1.png": ("car", "train"),
        "Train/bus/1.png": ("bus", "train"),
        "VALID/car/2.png": ("car", "val"),
        "test/9.png": (None, "predict"),
    }


@pytest.mark.parametrize("pack", PACKINGS)
def test_read_yields_the_bytes_of_each_file_once(tmp_path: Path, pack: Callable[..., str]) -> None:
    files = pngs("w/b/2.png", "w/a/1.png", "w/a/3.png")
    source = opened(tmp_path, pack(tmp_path, files))
    wanted = ["b/2.png", "a/1.png", "a/1.png"]
    assert sorted(source.read(wanted)) == [("a/1.png", files["w/a/1.png"]), ("b/2.png", files["w/b/2.png"])]


def test_every_packing_has_the_same_manifest_and_its_own_digest(tmp_path: Path) -> None:
    files = pngs("w/b/2.png", "w/b/3.png", "w/a/1.png") | {"w/a/bad.jpg": b"bad"}
    sources = [opened(tmp_path, pack(tmp_path, files)) for pack in PACKINGS]
    manifests = [build_manifest(source, Data(source="folder"), 0).rows for source in sources]
    assert all(manifest.equals(manifests[0]) for manifest in manifests)
    assert len({source.digest() for source in sources}) == len(sources)


@pytest.mark.parametrize("pack", PACKINGS)
def test_hidden_files_and_documents_are_not_listed(tmp_path: Path, pack: Callable[..., str]) -> None:
    files = pngs("a/1.png", "b/1.png", "__MACOSX/a/._1.png", "a/.hidden.png", ".git/x.png")
    files |= {
        "a/Thumbs.db": b"x",
        "b/.DS_Store": b"x",
        "b/desktop.ini": b"x",
        "README.md": b"# x",
        "a/notes.txt": b"BM",
    }
    assert set(rows(opened(tmp_path, pack(tmp_path, files)))) == {"a/1.png", "b/1.png"}


@pytest.mark.parametrize("pack", PACKINGS)
def test_an_image_without_extension_is_recognised_by_its_first_bytes(tmp_path: Path, pack: Callable[..., str]) -> None:
    files = pngs("a/IMG_1", "a/2.photo", "b/1.txt") | {"a/LICENSE": b"do what you like"}
    assert set(rows(opened(tmp_path, pack(tmp_path, files)))) == {"a/IMG_1", "a/2.photo", "b/1.txt"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    source = opened(tmp_path, as_folder(tmp_path, pngs("train/1.png", "car/1.png", "test/2.png")))
    assert rows(source) == {
        "train/1.png": ("train", None),
        "car/1.png": ("car", None),
        "test/2.png": ("test", None),
    }


def test_in_a_labelled_test_folder_images_outside_classes_are_to_predict(tmp_path: Path) -> None:
    source = opened(tmp_path, as_folder(tmp_path, pngs("train/a/1.png", "train/b/1.png", "test/a/2.png", "test/3.png")))
    listed = rows(source)
    assert listed["test/a/2.png"] == ("a", "test")
    assert listed["test/3.png"] == (None, "predict")


def test_images_in_sub_folders_of_test_that_are_not_classes_are_to_predict(tmp_path: Path) -> None:
    names = ("train/a/1.png", "train/b/1.png", "test/images/2.png")
    assert rows(opened(tmp_path, as_folder(tmp_path, pngs(*names))))["test/images/2.png"] == (None, "predict")


@pytest.mark.parametrize("wrap", ["", "set/"])
def test_the_images_to_predict_may_be_in_a_folder_of_any_name(tmp_path: Path, wrap: str) -> None:
    files = pngs(f"{wrap}a/1.png", f"{wrap}b/1.png", f"{wrap}upload/x/2.png")
    source = opened(tmp_path, as_folder(tmp_path, files), predict="upload")
    assert rows(source) == {"a/1.png": ("a", None), "b/1.png": ("b", None), "upload/x/2.png": (None, "predict")}


def test_the_folder_to_predict_may_be_beside_the_wrapping_folder(tmp_path: Path) -> None:
    source = opened(tmp_path, as_folder(tmp_path, pngs("set/a/1.png", "set/b/1.png", "up/2.png")), predict="up")
    assert rows(source) == {"a/1.png": ("a", None), "b/1.png": ("b", None), "up/2.png": (None, "predict")}
    assert dict(source.read(["up/2.png"])) == {"up/2.png": png("up/2.png")}


def test_the_error_for_a_missing_folder_to_predict_names_the_existing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'upload' .* contains no image\. Folders with images: a, b"):
        opened(tmp_path, as_folder(tmp_path, pngs("a/1.png", "b/1.png")), predict="upload")


def test_images_beside_the_class_folders_are_unlabelled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = opened(tmp_path, as_folder(tmp_path, pngs("a/1.png", "b/1.png", "loose.png")))
    manifest = build_manifest(source, Data(), 0).rows.set_index("path")
    assert manifest["split"]["loose.png"] == "unlabelled"
    assert "1 images are in no class folder" in caplog.text


@pytest.mark.parametrize("prefix", ["", "wrapped/"])
def test_a_split_file_may_omit_the_wrapping_folder(tmp_path: Path, prefix: str) -> None:
    path = as_zip(tmp_path, pngs("wrapped/a/1.png", "wrapped/b/1.png", "wrapped/a/2.png"))
    lines = [f"{prefix}a/1.png,Train", f"{prefix}b/1.png,valid"]
    (tmp_path / "split.csv").write_text("\n".join(["path,split", *lines]))
    listed = rows(opened(tmp_path, path, split_file="split.csv"))
    assert listed == {"a/1.png": ("a", "train"), "b/1.png": ("b", "val"), "a/2.png": ("a", None)}


@pytest.mark.parametrize("prefix", ["", "wrapped/", "./"])
def test_a_split_file_claims_no_image_of_another_folder(tmp_path: Path, prefix: str) -> None:
    path = as_folder(tmp_path, pngs("a/1.png", "b/1.png", "1.png"))
    lines = [f"{prefix}{name},train" for name in ("a/1.png", "b/1.png", "missing/1.png")]
    (tmp_path / "split.csv").write_text("\n".join(["path,split", *lines]))
    assert rows(opened(tmp_path, path, split_file="split.csv"))["1.png"] == (None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,split\na/1.png,train\n./a/1.png,val\n", "a/1.png two splits"),
        ("path,split\nx/9.png,train\n", "names none of the images"),
        ("path,split\na/1.png,trian\n", "row 2: unknown split 'trian'"),
        ("path,split\na/1.png,train\na/1.png,val\n", "row 3: a/1.png is in two splits"),
        ("file,split\na/1.png,train\n", "no column 'path'; it has 'file', 'split'"),
        ("", "is empty"),
    ],
)
def test_an_unusable_split_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = as_folder(tmp_path, pngs("a/1.png", "b/1.png"))
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        list(opened(tmp_path, path, split_file="split.csv").list_images())


def test_the_split_file_is_part_of_the_digest(tmp_path: Path) -> None:
    path = as_folder(tmp_path, pngs("a/1.png", "b/1.png"))
    digests = set()
    for split in ("train", "val"):
        (tmp_path / "split.csv").write_text(f"path,split\na/1.png,{split}\n")
        digests.add(opened(tmp_path, path, split_file="split.csv").digest())
    assert len(digests | {opened(tmp_path, path).digest()}) == 3


def test_the_digest_depends_on_changed_files_and_not_on_reading(tmp_path: Path) -> None:
    path = as_folder(tmp_path, pngs("a/1.png", "b/1.png"))
    before = opened(tmp_path, path).digest()
    list(opened(tmp_path, path).read(["a/1.png"]))
    assert opened(tmp_path, path).digest() == before
    (tmp_path / path / "a/1.png").write_bytes(b"another")
    assert opened(tmp_path, path).digest() != before


def test_a_class_file_sets_the_order_and_may_name_numbered_folders(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("van\ncar\n")
    source = opened(tmp_path, as_folder(tmp_path, pngs("0/1.png", "1/1.png")), class_file="names.txt")
    assert source.classes == ["van", "car"]
    assert rows(source) == {"0/1.png": ("van", None), "1/1.png": ("car", None)}


def test_the_error_for_a_label_outside_the_class_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("van\nlorry\n")
    with pytest.raises(UserError, match=r"'lory' is not among the 2 class names\. Did you mean 'lorry'"):
        opened(tmp_path, as_folder(tmp_path, pngs("van/1.png", "lory/1.png")), class_file="names.txt")


@pytest.mark.parametrize("pack", [as_folder, as_zip])
def test_an_empty_class_folder_is_left_out_with_a_warning(
    tmp_path: Path, pack: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    path = pack(tmp_path, pngs("a/1.png", "b/1.png"))
    if pack is as_folder:
        (tmp_path / path / "ghost").mkdir()
    else:
        with zipfile.ZipFile(tmp_path / path, "a") as archive:
            archive.writestr("ghost/", b"")
    with caplog.at_level(logging.WARNING):
        assert opened(tmp_path, path).classes == ["a", "b"]
    assert "class folder ghost" in caplog.text


def test_the_error_for_a_missing_path_names_the_place_and_the_remedy(tmp_path: Path) -> None:
    as_zip(tmp_path, pngs("a/1.png"))
    with pytest.raises(UserError, match=r"looked for .*dta\.zip\. Did you mean data\.zip.*DECANT_DATA"):
        opened(tmp_path, "dta.zip")
    with pytest.raises(UserError, match="DECANT_DATA"):
        opened(tmp_path / "nowhere", "data.zip")
    with pytest.raises(UserError, match=r"data\.path must name"):
        opened(tmp_path, "")


def test_the_error_for_an_archive_of_archives_names_one_to_unpack(tmp_path: Path) -> None:
    path = as_zip(tmp_path, {"train.zip": b"PK", "readme.txt": b""})
    with pytest.raises(UserError, match=r"contains no image\. It contains archives \(train\.zip\)"):
        opened(tmp_path, path)


@pytest.mark.parametrize("name", ["more.zip", "old/more.7z", "MORE.TAR.GZ"])
def test_an_archive_beside_the_class_folders_is_named(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened(tmp_path, as_folder(tmp_path, {"a/1.png": b"1", "b/2.png": b"2", name: b"PK", "labels.csv.gz": b""}))
    assert f"1 archives in {tmp_path / 'data'} are not read ({name})" in caplog.text


def test_a_tar_of_the_folder_itself_has_no_empty_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / as_folder(tmp_path, {"a/1.png": b"1", "b/2.png": b"2"})
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(folder, ".")
    opened(tmp_path, "set.tar")
    assert not caplog.records


def test_a_sample_submission_is_found_inside_or_beside(tmp_path: Path) -> None:
    path = as_zip(tmp_path, pngs("a/1.png", "b/1.png") | {"sample.csv": b"id,label\n"})
    assert opened(tmp_path, path, sample_submission="sample.csv").sample_submission() == b"id,label\n"
    (tmp_path / "beside.csv").write_bytes(b"image,class\n")
    assert opened(tmp_path, path, sample_submission="beside.csv").sample_submission() == b"image,class\n"
    assert opened(tmp_path, path).sample_submission() is None


def test_toy_vehicles_are_drawn_once_and_their_digest_does_not_depend_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def generate(folder: Path, images: int, size_px: int, seed: int, classes: int, **options: object) -> None:
        if folder.is_dir():
            return  # like the real function, which keeps a complete folder
        drawn.append((images, size_px, seed, classes))
        as_folder(folder, pngs("car/1.png", f"van/{seed}.png"))

    monkeypatch.setattr("toy_vehicles.generate", generate, raising=False)
    data = Data(toy={"images": 40, "size_px": 32, "classes": 2})  # type: ignore[arg-type]
    first = open_source(data, tmp_path, tmp_path / "one", 3)
    again = open_source(data, tmp_path, tmp_path / "one", 3)
    assert drawn == [(40, 32, 3, 2)]
    assert rows(again) == {"car/1.png": ("car", None), "van/3.png": ("van", None)}
    other = open_source(data, tmp_path, tmp_path / "two", 3)
    assert first.digest() == again.digest() == other.digest()
    assert open_source(data, tmp_path, tmp_path / "two", 4).digest() != first.digest()


def test_half_drawn_toy_vehicles_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [pngs("car/1.png"), pngs("car/1.png", "van/1.png")]

    def generate(folder: Path, **options: int) -> None:
        as_folder(folder, files.pop(0))
        if files:
            raise KeyboardInterrupt

    monkeypatch.setattr("toy_vehicles.generate", generate, raising=False)
    with pytest.raises(KeyboardInterrupt):
        open_source(Data(), tmp_path, tmp_path, 0)
    assert open_source(Data(), tmp_path, tmp_path, 0).classes == ["car", "van"]


@pytest.mark.data
def test_the_vehicle_data_set_has_train_val_and_images_to_predict(real_data: Path, tmp_path: Path) -> None:
    data = Data(source="folder", path="vehicle_dataset.zip")
    manifest = build_manifest(open_source(data, real_data, tmp_path), data, 0)
    assert manifest.rows["split"].value_counts().to_dict() == {"train": 1149, "val": 204, "predict": 194}
    drawn = draw_splits(manifest, 0, 0.15, 0.15).rows["split"].value_counts().to_dict()
    assert drawn == {"train": 976, "val": 204, "predict": 194, "test": 173}
    assert len(manifest.classes) == 10


@pytest.mark.data
def test_the_traffic_vehicles_follow_their_split_file(real_data: Path, tmp_path: Path) -> None:
    split_file = "traffic_vehicles_split.csv"
    data = Data(source="folder", path="traffic_vehicles.zip", split_file=split_file)
    source = open_source(data, real_data, tmp_path)
    counts = [sum(item.split == split for item in source.list_images()) for split in ("train", "val", "test")]
    assert counts == [6 * 544, 6 * 96, 6 * 160]


def test_class_folders_without_a_file_are_named_and_others_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = as_folder(tmp_path, pngs("a/deep/1.png", "ab/1.png", "c/1.png"))
    (tmp_path / path / "b").mkdir()
    opened(tmp_path, path)
    assert [line.split(" in ")[0] for line in caplog.messages] == ["the class folder b"]
