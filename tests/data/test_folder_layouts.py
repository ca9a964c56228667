"""Folders as people have them: names of splits, copies inside, leftovers of systems, spellings of classes."""

import io
import logging
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from decant.data.layout import split_of_name
from decant.data.manifest import build_manifest
from decant.data.sources import open_source
from decant.errors import UserError
from decant.study import Data


def png(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), tuple(zlib.crc32(name.encode()).to_bytes(4)[:3])).save(file, "PNG")
    return file.getvalue()


def put(root: Path, name: str, content: str = "") -> None:
    path = root / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(content or name))


def rows(root: Path, path: str = "data", **options: object) -> pd.DataFrame:
    data = Data(source="folder", path=path, **options)  # type: ignore[arg-type]
    manifest = build_manifest(open_source(data, root, root / "work"), data, 0)
    return manifest.rows.assign(classes=", ".join(manifest.classes)).set_index("path")


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Training trainset train_set seg_train train_images images-train train2017 TRAIN_DATA"),
        ("val", "val valid validation validationset dev eval val_images imgs_val val2017"),
        ("test", "test testing test_set testset seg_test TestImages test-data"),
        ("predict", "pred seg_pred predict predictions"),
        ("unlabelled", "unlabeled unlabelled_images"),
    ],
)
def test_split_names_are_known_in_their_spellings(split: str, names: str) -> None:
    assert {name: split_of_name(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize("name", ["car", "trainer", "train+val", "contest", "device", "lernen", "steam train", "汽车"])
def test_other_names_are_no_splits(name: str) -> None:
    assert split_of_name(name) is None


def test_a_split_folder_inside_a_folder_of_its_name_is_unwrapped(tmp_path: Path) -> None:
    for label in "ab":
        put(tmp_path, f"seg_train/seg_train/{label}/1.png")
        put(tmp_path, f"seg_test/seg_test/{label}/2.png")
    put(tmp_path, "seg_pred/seg_pred/3.png")
    table = rows(tmp_path)
    assert set(table["classes"]) == {"a, b"}
    assert table["split"].value_counts().to_dict() == {"train": 2, "test": 2, "predict": 1}


def test_a_single_doubled_split_folder_holds_the_classes(tmp_path: Path) -> None:
    for label in "ab":
        put(tmp_path, f"train/train/{label}/1.png")
    assert set(rows(tmp_path)["classes"]) == {"a, b"}


def test_a_fourth_folder_that_repeats_two_splits_is_set_aside_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label in "ab":
        for split in ("trainset", "validationset", "testset"):
            put(tmp_path, f"{split}/{label}/1.png", f"{split}{label}")
        put(tmp_path, f"train+val/{label}/x.png", f"trainset{label}")
        put(tmp_path, f"train+val/{label}/y.png", f"validationset{label}")
    table = rows(tmp_path)
    assert set(table["classes"]) == {"a, b"}
    assert table["action"].value_counts().to_dict() == {"none": 6, "drop": 4}
    assert table["reason"]["train+val/a/x.png"] == "copy of trainset/a/1.png"
    assert [record.message.split(" in ")[0] for record in caplog.records] == ["4 of the 4 images"]


def test_a_folder_called_test_beside_the_classes_is_a_class_and_a_line_names_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("car", "van", "test"):
        put(tmp_path, f"{folder}/1.png")
    assert set(rows(tmp_path)["classes"]) == {"car, test, van"}
    assert "the folder test " in caplog.text and "data.predict=test" in caplog.text and "folder car" not in caplog.text


def test_train_and_val_in_one_folder_train_where_there_is_no_other(tmp_path: Path) -> None:
    for label in "ab":
        put(tmp_path, f"train_val/{label}/1.png")
        put(tmp_path, f"test/{label}/2.png")
    assert rows(tmp_path)["split"].value_counts().to_dict() == {"train": 2, "test": 2}


def test_images_beside_the_splits_that_are_no_copies_are_unlabelled_and_the_line_names_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label in "ab":
        put(tmp_path, f"train/{label}/1.png")
        put(tmp_path, f"test/{label}/2.png")
        put(tmp_path, f"extra/{label}/3.png")
    assert (rows(tmp_path)["split"][["extra/a/3.png", "extra/b/3.png"]] == "unlabelled").all()
    assert "data.splits: {extra: train}" in caplog.text


def test_the_advice_for_a_folder_with_a_comma_in_its_name_can_be_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label in "ab":
        put(tmp_path, f"train/{label}/1.png")
        put(tmp_path, f"more, extra/{label}/3.png")
    rows(tmp_path)
    assert "data.splits: {'more, extra': train}" in caplog.text
    assert (rows(tmp_path, splits={"more, extra": "train"})["split"] == "train").all()


def own_words(root: Path) -> None:
    for label in "ab":
        put(root, f"lernen/{label}/1.png")
        put(root, f"pruefen/{label}/2.png")


def test_split_names_that_nobody_knows_are_an_error_that_names_the_key(tmp_path: Path) -> None:
    own_words(tmp_path)
    with pytest.raises(UserError, match=r"lernen, pruefen .*data\.splits: \{lernen: train, pruefen: test\}"):
        rows(tmp_path)


def test_the_study_may_name_the_splits_or_say_that_there_are_none(tmp_path: Path) -> None:
    own_words(tmp_path)
    named = rows(tmp_path, splits={"lernen": "train", "pruefen": "test"})
    assert named["split"].value_counts().to_dict() == {"train": 2, "test": 2}
    assert set(rows(tmp_path, splits="none")["classes"]) == {"lernen, pruefen"}
    ignored = rows(tmp_path, splits={"lernen": "train", "pruefen": "ignore"})
    assert ignored["reason"]["pruefen/a/2.png"] == "data.splits ignores the folder pruefen"


def test_a_folder_in_splits_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    own_words(tmp_path)
    with pytest.raises(UserError, match=r"no folder 'lernne' with images; it has lernen, pruefen"):
        rows(tmp_path, splits={"lernne": "train"})


def test_a_class_called_train_may_have_sub_folders(tmp_path: Path) -> None:
    put(tmp_path, "train/steam/1.png")
    put(tmp_path, "car/2.png")
    assert set(rows(tmp_path)["classes"]) == {"car, train"}


def test_a_val_folder_without_class_folders_is_set_aside_and_not_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label in "ab":
        put(tmp_path, f"train/{label}/1.png")
    put(tmp_path, "val/images/2.png")
    put(tmp_path, "val/images/3.png")
    table = rows(tmp_path)
    assert table["reason"]["val/images/2.png"] == "no label: val has no class folders"
    assert (table["split"][table["action"] == "drop"] == "val").all()
    assert len(caplog.records) == 1
    assert "2 images in val" in caplog.text
    opened = rows(tmp_path, splits={"val": "unlabelled"})
    assert opened["split"]["val/images/2.png"] == "unlabelled"
    assert (opened["action"] == "none").all()


@pytest.mark.parametrize("above", ["", "whole/"])
def test_the_advice_for_a_val_folder_without_labels_names_the_whole_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, above: str
) -> None:
    for label in "ab":
        put(tmp_path, f"{above}train/{label}/1.png")
    put(tmp_path, f"{above}val images/2.png")
    rows(tmp_path)
    assert "data.splits: {val images: unlabelled}" in caplog.text
    assert rows(tmp_path, splits={"val images": "unlabelled"})["split"]["val images/2.png"] == "unlabelled"


@pytest.mark.parametrize("depth", [1, 2])
def test_a_folder_unpacked_into_itself_gives_the_inner_classes_once(tmp_path: Path, depth: int) -> None:
    for label in ("no", "yes"):
        for inside in range(depth + 1):
            put(tmp_path, f"{'scans/' * inside}{label}/1.png", label)
    table = rows(tmp_path)
    assert set(table["classes"]) == {"no, yes"}
    assert table["action"].value_counts().to_dict() == {"none": 2, "drop": 2 * depth}
    assert table["reason"]["scans/no/1.png"] == "copy of no/1.png"


def test_a_class_whose_images_are_all_in_another_class_too_is_reported_with_a_pair(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a/1.png", "b/1.png"):
        put(tmp_path, name, "same")
    put(tmp_path, "a/2.png")
    rows(tmp_path)
    assert "class 'b' is also in another class (b/1.png = a/1.png)" in caplog.text


@pytest.mark.parametrize(
    "leftover",
    ["a/@eaDir/1.png/SYNOPHOTO_THUMB_SM.jpg", "#recycle/a/1.png", "@Recycle/2.png", ".thumbnails/3.png",
     "lost+found/4.png", ".ipynb_checkpoints/5.png", "__MACOSX/a/._1.png", "a/Thumbs.db"],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_leftovers_of_systems_are_passed_over_and_counted(
    tmp_path: Path, leftover: str, zipped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a/1.png", "b/1.png", leftover):
        put(tmp_path, name)
    if zipped:
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for path in (tmp_path / "data").rglob("*"):
                if path.is_file():
                    archive.write(path, path.relative_to(tmp_path / "data"))
    with caplog.at_level(logging.INFO):
        assert list(rows(tmp_path, "data.zip" if zipped else "data").index) == ["a/1.png", "b/1.png"]
    assert "passed over 1 leftover" in caplog.text


def test_a_class_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    for form, split in (("NFC", "train"), ("NFD", "val")):
        for label in ("vélo", "bus"):
            put(tmp_path, f"{split}/{unicodedata.normalize(form, label)}/{form}.png")
    table = rows(tmp_path)
    assert set(table["classes"]) == {unicodedata.normalize("NFC", "bus, vélo")}
    assert table["split"].value_counts().to_dict() == {"train": 2, "val": 2}


@pytest.mark.parametrize("other", ["car ", "Car", "car\u200b"])
def test_names_that_differ_in_case_or_spaces_are_warned_of_and_class_names_merges_them(
    tmp_path: Path, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    for label in ("car", other, "bus"):
        put(tmp_path, f"{label}/1.png")
    assert len(rows(tmp_path)["classes"].iloc[0].split(", ")) == 3
    assert "differ only in case or spaces" in caplog.text
    merged = rows(tmp_path, class_names={other: "car"})
    assert set(merged["classes"]) == {"bus, car"} or set(merged["classes"]) == {"car, bus"}
    assert (merged["label"] == "car").sum() == 2


def test_val_with_one_class_of_three_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for label in "abc":
        put(tmp_path, f"train/{label}/1.png")
    put(tmp_path, "val/b/2.png")
    rows(tmp_path)
    assert "val has images of 1 of 3 classes (not of 'a', 'c')" in caplog.text


@pytest.mark.parametrize(
    "names",
    [("train/1.png", "test/2.png"), ("train/1.png", "val/a/2.png", "val/b/3.png"), ("images/1.png", "test/2.png")],
)
def test_split_folders_without_class_folders_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        put(tmp_path, name)
    with pytest.raises(UserError, match=r"no classes by their names.*data\.table.*data\.splits: none"):
        rows(tmp_path)
    assert len(set(rows(tmp_path, splits="none")["label"])) == 2


@pytest.mark.parametrize("train", ["lernen", "images"])
def test_a_folder_of_classes_beside_a_known_test_folder_is_an_error_that_names_the_key(
    tmp_path: Path, train: str
) -> None:
    for name in (f"{train}/a/1.png", f"{train}/b/2.png", "test/3.png"):
        put(tmp_path, name)
    with pytest.raises(UserError, match=rf"data\.splits: \{{{train}: train\}}"):
        rows(tmp_path)
    assert rows(tmp_path, splits={train: "train"})["split"]["test/3.png"] == "predict"


def test_sub_folders_that_are_not_read_as_classes_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("one/ant/1.png", "one/bee/2.png", "two/fly/3.png", "two/wasp/4.png"):
        put(tmp_path, name)
    assert set(rows(tmp_path)["label"]) == {"one", "two"}
    assert "data.splits: {one: train, two: train}" in caplog.text
    assert set(rows(tmp_path, splits={"one": "train", "two": "train"})["label"]) == {"ant", "bee", "fly", "wasp"}


def test_a_folder_of_splits_beside_other_images_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("set/train/a/1.png", "set/test/a/2.png", "results/plot.png"):
        put(tmp_path, name)
    rows(tmp_path)
    assert "give the folder set instead" in caplog.text


def test_splits_below_the_classes_are_kept(tmp_path: Path) -> None:
    for label in "ab":
        for split in ("train", "Test_Set"):
            put(tmp_path, f"{label}/{split}/1.png")
    table = rows(tmp_path)
    assert (table["label"]["a/Test_Set/1.png"], table["split"]["a/Test_Set/1.png"]) == ("a", "test")
    assert table["split"].value_counts().to_dict() == {"train": 2, "test": 2}


def test_a_class_whose_case_differs_in_test_is_warned_of_and_not_taken_for_images_to_predict(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("train/Cat/1.png", "train/Dog/2.png", "test/cat/3.png", "test/dog/4.png"):
        put(tmp_path, name)
    assert "predict" not in set(rows(tmp_path)["split"])
    assert "data.class_names: {'cat': 'Cat'}" in caplog.text
    assert rows(tmp_path, class_names={"cat": "Cat", "dog": "Dog"})["split"].tolist() == ["test"] * 2 + ["train"] * 2


def test_folders_that_wrap_the_classes_are_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for label in "ab":
        put(tmp_path, f"drive/photos/{label}/1.png")
    rows(tmp_path)
    assert not caplog.records
