"""The drawn set: truth.csv is complete, every fault occurs, bytes repeat, raw pixels do not separate the classes."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression

from toy_vehicles import CLASSES, FAULTS, LOOK_ALIKES, generate, sample_sheet
from toy_vehicles.mess import file_bytes
from toy_vehicles.plan import DUPLICATES, plan_files
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
    with Image.open(path) as image:
        image.load()
        return image.copy()


def of_fault(truth: pd.DataFrame, fault: str) -> list[str]:
    return truth.loc[truth.fault == fault, "path"].tolist()


def test_truth_csv_lists_every_file_and_no_other(folder: Path, truth: pd.DataFrame) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files - {"truth.csv"} == set(truth.path)
    assert len(truth) == len(set(truth.path)) == IMAGES


def test_given_label_is_the_folder_of_the_file(truth: pd.DataFrame) -> None:
    parts = truth.path.str.split("/", expand=True)
    assert set(parts[0]) == {"train", "val", "test"}
    assert (parts[1] == truth.given_label).all()


def test_sets_of_200_and_more_images_contain_every_fault() -> None:
    for images in (200, 2000):
        faults = {plan.fault for plan in plan_files(images, 96, seed=1, classes=10)}
        assert faults == {"", *FAULTS}


def test_same_seed_gives_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        np.random.seed(len(name))  # global state must not matter
        generate(tmp_path / name, images=60, classes=4, size_px=64, seed=seed)
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert not set(one.values()) & set(three.values()) - {hashlib.sha256(b"").hexdigest()}


def test_two_processes_write_the_same_files_as_one(tmp_path: Path) -> None:
    for processes in (1, 2):
        generate(tmp_path / str(processes), images=400, size_px=32, processes=processes)

    one, two = [{path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
                for root in (tmp_path / "1", tmp_path / "2")]  # fmt: skip
    assert len(one) == 401
    assert one == two


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_gives_the_same_bytes_twice(fault: str) -> None:
    plan = next(plan for plan in plan_files(2000, 48, seed=2, classes=10) if plan.fault == fault)
    assert file_bytes(plan, 2) == file_bytes(plan, 2)


def test_a_small_set_has_all_classes_in_every_split_and_some_faults(tmp_path: Path) -> None:
    generate(tmp_path / "micro", images=60, classes=4, size_px=48)
    truth = pd.read_csv(tmp_path / "micro" / "truth.csv", keep_default_na=False)
    assert len(truth) == 60
    images = truth[truth.true_label != ""]
    for split in ("train", "val", "test"):
        assert set(images.true_label[images.path.str.startswith(split)]) == set(CLASSES[:4])
    assert {"wrong_label", "exact_duplicate"} <= set(truth.fault)


def test_a_larger_test_share_takes_images_from_train_alone() -> None:
    counts = {
        share: Counter(plan.path.split("/")[0] for plan in plan_files(2000, 48, 0, 10, share)) for share in (0.15, 0.4)
    }
    assert counts[0.4]["val"] == pytest.approx(counts[0.15]["val"], abs=5)
    assert counts[0.4]["test"] == pytest.approx(0.4 * 2000, rel=0.05)
    assert sum(counts[0.4].values()) == 2000
    with pytest.raises(ValueError, match="test_share"):
        plan_files(2000, 48, 0, 10, 0.6)


def test_the_most_frequent_class_has_five_times_as_many_images_as_the_least_frequent() -> None:
    plans = plan_files(2000, 96, seed=0, classes=10)
    counts = Counter(plan.true_label for plan in plans if not plan.of and plan.true_label)
    assert [label for label, _ in counts.most_common()] == list(CLASSES)
    assert 4.5 < counts[CLASSES[0]] / counts[CLASSES[-1]] < 5.5


def test_8_percent_of_train_have_a_wrong_label_and_most_of_these_are_look_alikes() -> None:
    plans = plan_files(2000, 96, seed=0, classes=10)
    train = [plan for plan in plans if plan.path.startswith("train/") and not plan.of and plan.true_label]
    wrong = [plan for plan in train if plan.given_label != plan.true_label]
    assert 0.075 < len(wrong) / len(train) < 0.085
    assert all(plan.fault == "wrong_label" for plan in wrong)
    look_alikes = sum(plan.given_label in LOOK_ALIKES[plan.true_label] for plan in wrong)
    assert 0.55 < look_alikes / len(wrong) < 0.95


def test_val_and_test_have_only_true_labels_and_decodable_files(truth: pd.DataFrame) -> None:
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


def test_exact_duplicates_have_equal_bytes_and_other_files_do_not(folder: Path, truth: pd.DataFrame) -> None:
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
def test_near_duplicates_look_like_their_original(folder: Path, truth: pd.DataFrame, fault: str) -> None:
    rows = truth[truth.fault == fault]
    assert len(rows)
    for row in rows.itertuples():
        copy, original = opened(folder / row.path).convert("RGB"), opened(folder / row.of).convert("RGB")
        if fault == "mirrored":
            copy = ImageOps.mirror(copy)
        small_copy, small_original = (
            np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=np.float64) for image in (copy, original)
        )
        assert np.corrcoef(small_copy.ravel(), small_original.ravel())[0, 1] > 0.97
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


def test_no_broken_file_of_a_large_set_decodes() -> None:
    plans = plan_files(2000, 48, seed=0, classes=10)
    for plan in plans:
        if plan.fault in ("truncated", "corrupt", "non_image"):
            with pytest.raises((OSError, SyntaxError)):
                Image.open(io.BytesIO(file_bytes(plan, 0))).load()


def test_unusual_formats_match_truth_csv(folder: Path, truth: pd.DataFrame) -> None:
    for path in of_fault(truth, "cmyk"):
        assert opened(folder / path).mode == "CMYK"
    for path in of_fault(truth, "palette"):
        assert opened(folder / path).mode == "P"
    for path in of_fault(truth, "alpha"):
        assert opened(folder / path).getextrema()[3][0] == 0
    for path in of_fault(truth, "exif_rotated"):
        assert opened(folder / path).getexif()[0x0112] in range(2, 9)
    for path in of_fault(truth, "animated"):
        with Image.open(folder / path) as image:
            assert image.n_frames == 3
    for path in of_fault(truth, "wrong_extension"):
        with Image.open(folder / path) as image:
            assert Image.registered_extensions()[Path(path).suffix.lower()] != image.format


def test_sixteen_bit_files_have_sixteen_bits_per_channel() -> None:
    plans = [plan for plan in plan_files(2000, 48, seed=0, classes=10) if plan.fault == "sixteen_bit"]
    kinds = set()
    for plan in plans:
        data = file_bytes(plan, 0)
        image = Image.open(io.BytesIO(data))
        image.load()
        if plan.encoding == "png":
            assert data[24] == 16  # bit depth in PNG's IHDR chunk
            kinds.add(data[25])  # colour type: 0 grey, 2 RGB
        else:
            assert image.mode == "I;16"
    assert kinds == {0, 2}


def test_a_rotated_image_is_upright_after_its_exif_orientation_is_applied() -> None:
    plan = next(p for p in plan_files(2000, 48, seed=0, classes=10) if p.fault == "exif_rotated")
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file_bytes(plan, 0)))).convert("RGB")
    drawn = draw(plan.true_label, np.random.default_rng([0, 2, plan.scene]), plan.width_px, plan.height_px)
    assert upright.size == drawn.size
    assert np.abs(np.asarray(upright, dtype=float) - np.asarray(drawn, dtype=float)).mean() < 12


def test_file_names_contain_unicode_and_are_at_most_200_bytes_long(truth: pd.DataFrame) -> None:
    sizes = {path: len(os.fsencode(path.rsplit("/", 1)[1])) for path in truth.path}
    assert max(sizes.values()) <= 200
    assert all(sizes[path] >= 190 for path in of_fault(truth, "long_name"))
    assert not any(path.isascii() for path in of_fault(truth, "unicode_name"))


def test_file_names_do_not_contain_the_class(truth: pd.DataFrame) -> None:
    plain = truth[truth.fault != "unicode_name"]
    assert not any(label in path.rsplit("/", 1)[1].lower() for path in plain.path for label in CLASSES)


def test_a_complete_set_is_kept_and_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
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


def test_a_process_that_fails_is_an_error_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(subprocess.CalledProcessError):
        generate(tmp_path / "set", images=400, size_px=32, processes=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("images", "processes"), [(60, 1), (400, 2)])
def test_an_interrupted_run_leaves_no_folder(tmp_path: Path, images: int, processes: int) -> None:
    def stop(drawn: Iterator[object], what: str, total: int, unit: str) -> Iterator[object]:
        yield from islice(drawn, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", images=images, size_px=32, progress=stop, processes=processes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("images", "classes", "size_px", "hint"),
    [(59, 10, 96, "60 or more"), (60, 1, 96, "2 to 10"), (100, 11, 96, "2 to 10"), (100, 4, 8, "24")],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, images: int, classes: int, size_px: int, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        generate(tmp_path / "set", images=images, classes=classes, size_px=size_px)


def test_raw_pixels_do_not_separate_the_classes_for_a_linear_model() -> None:
    """Chance is 0.1. The solution lies in the span of the training images, so pixels are first projected on it."""
    count, train = 400, 280
    labels = np.arange(count) % 10
    images = [draw(CLASSES[label], np.random.default_rng([8, i]), 32, 32) for i, label in enumerate(labels)]
    pixels = np.stack([np.asarray(image).ravel() / 255 - 0.5 for image in images])
    features = pixels @ np.linalg.qr(pixels[:train].T)[0]
    for strength in (0.001, 0.01, 0.1):
        model = LogisticRegression(C=strength, max_iter=1000).fit(features[:train], labels[:train])
        assert model.score(features[train:], labels[train:]) < 0.4


def test_every_class_is_drawn_in_the_requested_size_and_varies() -> None:
    for label in CLASSES:
        first, second = (np.asarray(draw(label, np.random.default_rng([1, i]), 72, 48)) for i in range(2))
        assert first.shape == second.shape == (48, 72, 3)
        assert np.abs(first.astype(float) - second).mean() > 5


def test_a_sample_sheet_depends_only_on_its_seed() -> None:
    sheet = sample_sheet(0, columns=5, rows=2, cell_px=48)
    assert sheet.mode == "RGB"
    assert sheet.tobytes() == sample_sheet(0, columns=5, rows=2, cell_px=48).tobytes()
    assert sheet.tobytes() != sample_sheet(1, columns=5, rows=2, cell_px=48).tobytes()
