"""The embedded set: complete truth, every kind of mess, the same bytes again, pictures not won by pixels."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression

import toy_vehicles
from toy_vehicles import CLASSES, FAULTS, LOOK_ALIKES, generate, sample_sheet
from toy_vehicles.plan import DUPLICATES, Plan, plan_files
from toy_vehicles.scene import draw

IMAGES = 250


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("toy") / "set"
    generate(target, images=IMAGES, seed=3)
    return target


@pytest.fixture(scope="module")
def truth(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "truth.csv", keep_default_na=False)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture.copy()


def of_fault(truth: pd.DataFrame, fault: str) -> list[str]:
    return truth.loc[truth.fault == fault, "path"].tolist()


def test_truth_names_every_file_of_the_tree_and_no_other(folder: Path, truth: pd.DataFrame) -> None:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found - {"truth.csv"} == set(truth.path)
    assert len(truth) == len(set(truth.path)) == IMAGES


def test_given_label_is_the_folder_of_the_file(truth: pd.DataFrame) -> None:
    parts = truth.path.str.split("/", expand=True)
    assert set(parts[0]) == {"train", "val", "test"}
    assert (parts[1] == truth.given_label).all()


def test_every_kind_of_mess_occurs_from_200_images_on() -> None:
    for images in (200, 2000):
        found = {plan.fault for plan in plan_files(images, 96, seed=1, classes=10)}
        assert found == {"", *FAULTS}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        np.random.seed(len(name))  # global state must not matter
        generate(tmp_path / name, images=60, classes=4, size_px=64, seed=seed)
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert not set(one.values()) & set(three.values()) - {hashlib.sha256(b"").hexdigest()}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_can_be_written_in_the_same_bytes_twice(fault: str) -> None:
    plan = next(plan for plan in plan_files(2000, 48, seed=2, classes=10) if plan.fault == fault)
    assert toy_vehicles.file_bytes(plan, 2) == toy_vehicles.file_bytes(plan, 2)


def test_a_micro_set_has_its_classes_in_every_split_and_some_mess(tmp_path: Path) -> None:
    generate(tmp_path / "micro", images=60, classes=4, size_px=48)
    truth = pd.read_csv(tmp_path / "micro" / "truth.csv", keep_default_na=False)
    assert len(truth) == 60
    shown = truth[truth.true_label != ""]
    for split in ("train", "val", "test"):
        assert set(shown.true_label[shown.path.str.startswith(split)]) == set(CLASSES[:4])
    assert {"wrong_label", "exact_duplicate"} <= set(truth.fault)


def test_most_and_least_frequent_class_stand_5_to_1() -> None:
    plans = plan_files(2000, 96, seed=0, classes=10)
    counts = Counter(plan.true_label for plan in plans if not plan.of and plan.true_label)
    assert [label for label, _ in counts.most_common()] == list(CLASSES)
    assert 4.5 < counts[CLASSES[0]] / counts[CLASSES[-1]] < 5.5


def test_a_twelfth_of_train_is_labelled_wrong_mostly_as_a_look_alike() -> None:
    plans = plan_files(2000, 96, seed=0, classes=10)
    train = [plan for plan in plans if plan.path.startswith("train/") and not plan.of and plan.true_label]
    wrong = [plan for plan in train if plan.given_label != plan.true_label]
    assert 0.075 < len(wrong) / len(train) < 0.085
    assert all(plan.fault == "wrong_label" for plan in wrong)
    near = sum(plan.given_label in LOOK_ALIKES[plan.true_label] for plan in wrong)
    assert 0.55 < near / len(wrong) < 0.95


def test_val_and_test_keep_true_labels_and_decodable_files(truth: pd.DataFrame) -> None:
    held_out = truth[~truth.path.str.startswith("train/")]
    assert (held_out.given_label == held_out.true_label).all()
    assert not set(held_out.fault) & {"wrong_label", "truncated", "corrupt", "non_image"}


def test_duplicates_come_from_train_and_leak_across_splits_and_labels(truth: pd.DataFrame) -> None:
    copies = truth[truth.of != ""]
    assert set(copies.fault) == set(DUPLICATES)
    originals = truth.set_index("path").loc[copies.of]
    assert originals.index.str.startswith("train/").all()
    assert (originals.fault == "").all()
    assert (originals.true_label.to_numpy() == copies.true_label.to_numpy()).all()
    assert {path.split("/")[0] for path in copies.path} == {"train", "val", "test"}
    assert (copies.given_label != copies.true_label).any()


def test_exact_duplicates_share_bytes_and_nothing_else_does(folder: Path, truth: pd.DataFrame) -> None:
    hashes = digests(folder)
    same: dict[str, set[str]] = {}
    for path, digest in hashes.items():
        same.setdefault(digest, set()).add(path)
    copies = truth[truth.fault == "exact_duplicate"]
    for row in copies.itertuples():
        assert {row.path, row.of} <= same[hashes[row.path]]
    no_image = set(of_fault(truth, "non_image"))
    repeated = {path for group in same.values() if len(group) > 1 for path in group} - no_image
    assert repeated == set(copies.path) | set(copies.of)


@pytest.mark.parametrize("fault", ["resized", "mirrored", "reencoded"])
def test_near_duplicates_show_their_original(folder: Path, truth: pd.DataFrame, fault: str) -> None:
    rows = truth[truth.fault == fault]
    assert len(rows)
    for row in rows.itertuples():
        copy, original = opened(folder / row.path).convert("RGB"), opened(folder / row.of).convert("RGB")
        if fault == "mirrored":
            copy = ImageOps.mirror(copy)
        one, two = (
            np.asarray(picture.resize((16, 16), Image.Resampling.BOX), dtype=np.float64) for picture in (copy, original)
        )
        assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.97
        assert (folder / row.path).read_bytes() != (folder / row.of).read_bytes()


def test_cropped_duplicates_are_a_window_of_their_original(folder: Path, truth: pd.DataFrame) -> None:
    for row in truth[truth.fault == "cropped"].itertuples():
        copy, original = (
            np.asarray(opened(folder / path).convert("L"), dtype=np.float64) for path in (row.path, row.of)
        )
        height, width = copy.shape
        windows = np.lib.stride_tricks.sliding_window_view(original, (height, width))
        assert 1 < windows.shape[0] * windows.shape[1] < 0.2 * original.size
        assert np.abs(windows - copy).mean(axis=(2, 3)).min() < 6


def test_broken_files_do_not_decode_and_all_others_do(folder: Path, truth: pd.DataFrame) -> None:
    broken = set()
    for path in truth.path:
        try:
            opened(folder / path)
        except (OSError, SyntaxError):
            broken.add(path)
    assert broken == {p for fault in ("truncated", "corrupt", "non_image") for p in of_fault(truth, fault)}


def test_a_large_set_has_no_broken_file_that_decodes() -> None:
    plans = plan_files(2000, 48, seed=0, classes=10)
    for plan in plans:
        if plan.fault in ("truncated", "corrupt", "non_image"):
            with pytest.raises((OSError, SyntaxError)):
                Image.open(io.BytesIO(toy_vehicles.file_bytes(plan, 0))).load()


def test_odd_formats_are_what_truth_says(folder: Path, truth: pd.DataFrame) -> None:
    for path in of_fault(truth, "cmyk"):
        assert opened(folder / path).mode == "CMYK"
    for path in of_fault(truth, "palette"):
        assert opened(folder / path).mode == "P"
    for path in of_fault(truth, "alpha"):
        assert opened(folder / path).getextrema()[3][0] == 0
    for path in of_fault(truth, "exif_rotated"):
        assert opened(folder / path).getexif()[0x0112] in range(2, 9)
    for path in of_fault(truth, "animated"):
        with Image.open(folder / path) as picture:
            assert picture.n_frames == 3
    for path in of_fault(truth, "wrong_extension"):
        with Image.open(folder / path) as picture:
            assert Image.registered_extensions()[Path(path).suffix.lower()] != picture.format


def test_sixteen_bit_files_hold_sixteen_bits() -> None:
    plans = [plan for plan in plan_files(2000, 48, seed=0, classes=10) if plan.fault == "sixteen_bit"]
    kinds = set()
    for plan in plans:
        data = toy_vehicles.file_bytes(plan, 0)
        picture = Image.open(io.BytesIO(data))
        picture.load()
        if plan.encoding == "png":
            assert data[24] == 16  # PNG's IHDR: bit depth
            kinds.add(data[25])  # and colour type
        else:
            assert picture.mode == "I;16"
    assert kinds == {0, 2}


def test_a_rotated_picture_is_upright_once_its_orientation_is_applied() -> None:
    plan = next(p for p in plan_files(2000, 48, seed=0, classes=10) if p.fault == "exif_rotated")
    seen = ImageOps.exif_transpose(Image.open(io.BytesIO(toy_vehicles.file_bytes(plan, 0)))).convert("RGB")
    drawn = draw(plan.true_label, np.random.default_rng([0, 2, plan.scene]), plan.width_px, plan.height_px)
    assert seen.size == drawn.size
    assert np.abs(np.asarray(seen, dtype=float) - np.asarray(drawn, dtype=float)).mean() < 12


def test_names_are_unicode_and_long_but_never_beyond_200_bytes(truth: pd.DataFrame) -> None:
    sizes = {path: len(os.fsencode(path.rsplit("/", 1)[1])) for path in truth.path}
    assert max(sizes.values()) <= 200
    assert all(sizes[path] >= 190 for path in of_fault(truth, "long_name"))
    assert not any(path.isascii() for path in of_fault(truth, "unicode_name"))


def test_names_do_not_give_the_class_away(truth: pd.DataFrame) -> None:
    plain = truth[truth.fault != "unicode_name"]
    assert not any(label in path.rsplit("/", 1)[1].lower() for path in plain.path for label in CLASSES)


def test_a_whole_folder_is_left_alone_and_a_foreign_one_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "truth.csv").write_text("kept")
    generate(whole, images=60)
    assert digests(whole).keys() == {"truth.csv"}
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"no truth\.csv"):
        generate(foreign, images=60)
    assert (foreign / "holiday.jpg").read_bytes() == b"mine"


def test_an_interrupted_run_leaves_no_folder(tmp_path: Path) -> None:
    def stop(plans: list[Plan], what: str, unit: str) -> Iterator[Plan]:
        yield from plans[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", images=60, size_px=32, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("images", "classes", "size_px", "hint"),
    [(59, 10, 96, "60 or more"), (60, 1, 96, "2 to 10"), (100, 11, 96, "2 to 10"), (100, 4, 8, "24")],
)
def test_numbers_without_a_sensible_set_are_refused(
    tmp_path: Path, images: int, classes: int, size_px: int, hint: str
) -> None:
    with pytest.raises(ValueError, match=hint):
        generate(tmp_path / "set", images=images, classes=classes, size_px=size_px)


def test_raw_pixels_do_not_separate_the_classes_for_a_linear_model() -> None:
    """Chance is 0.1. Pixels are rotated into the span of the training pictures, where the solution lies."""
    count, train = 400, 280
    labels = np.arange(count) % 10
    pictures = [draw(CLASSES[label], np.random.default_rng([8, i]), 32, 32) for i, label in enumerate(labels)]
    pixels = np.stack([np.asarray(picture).ravel() / 255 - 0.5 for picture in pictures])
    features = pixels @ np.linalg.qr(pixels[:train].T)[0]
    for strength in (0.001, 0.01, 0.1):
        model = LogisticRegression(C=strength, max_iter=1000).fit(features[:train], labels[:train])
        assert model.score(features[train:], labels[train:]) < 0.4


def test_every_class_is_drawn_in_the_asked_size_and_varies() -> None:
    for label in CLASSES:
        one, two = (np.asarray(draw(label, np.random.default_rng([1, i]), 72, 48)) for i in range(2))
        assert one.shape == two.shape == (48, 72, 3)
        assert np.abs(one.astype(float) - two).mean() > 5


def test_a_sample_sheet_shows_every_class_and_is_the_same_again() -> None:
    one = sample_sheet(0, columns=5, rows=2, cell_px=48)
    assert one.mode == "RGB"
    assert one.tobytes() == sample_sheet(0, columns=5, rows=2, cell_px=48).tobytes()
    assert one.tobytes() != sample_sheet(1, columns=5, rows=2, cell_px=48).tobytes()
