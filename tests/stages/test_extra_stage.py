"""The stage clean with an extra source: copies of val, test and predict are found among its images, the rest trains."""

import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageFilter

from decant.data.manifest import Manifest, read_manifest
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.resolve import stage_result
from decant.study_reading import load_study


def experiment(study: Path, data_root: Path, runs: Path, *overrides: str) -> Experiment:
    return Experiment(load_study(str(study), list(overrides)), data_root, runs, runs / "results", "disabled")


def saved_again(content: bytes) -> bytes:
    """Other bytes with the same pixels."""
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).save(file, "PNG")
    return file.getvalue()


def mirrored(content: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file, "PNG")
    return file.getvalue()


def new_image(number: int) -> bytes:
    """An image with a pattern of its own."""
    file = io.BytesIO()
    noise = Image.effect_noise((40 + number % 7, 44), 120 + number).filter(ImageFilter.GaussianBlur(2))
    noise.convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extra")


@pytest.fixture(scope="module")
def alone(study_file: Path, data_root: Path, runs: Path) -> Manifest:
    """The cleaned manifest without an extra source."""
    folder = stage_result(experiment(study_file, data_root, runs, "clean.policy=report"), "clean").folder
    return read_manifest(folder)


@pytest.fixture(scope="module")
def joined_experiment(study_file: Path, data_root: Path, runs: Path, alone: Manifest) -> Experiment:
    """With an archive of new images and of copies: exact ones of predict, val, train; changed ones of test."""
    source = experiment(study_file, data_root, runs).source
    with zipfile.ZipFile(runs / "more.zip", "w") as archive:
        for number in range(12):
            archive.writestr(f"Lkw/new{number}.png", new_image(number))
        for split, change in (("predict", bytes), ("val", bytes), ("test", saved_again), ("train", bytes)):
            rows = alone.of_split(split)
            for number, (_, content) in enumerate(source.read(list(rows["path"][:3]))):
                archive.writestr(f"Kombi/{split}{number}.jpg", change(content))
                if split == "test":
                    archive.writestr(f"Kombi/test_mirrored{number}.jpg", mirrored(content))
    extra = f"data.extra=[{{path: {runs / 'more.zip'}}}]"
    return experiment(study_file, data_root, runs, "clean.policy=report", extra)


@pytest.fixture(scope="module")
def joined(joined_experiment: Experiment) -> Manifest:
    return read_manifest(stage_result(joined_experiment, "clean").folder)


def test_the_main_source_is_cleaned_as_without_an_extra_source(alone: Manifest, joined: Manifest) -> None:
    held = ["val", "test", "predict"]
    rows = joined.main().rows
    pd.testing.assert_frame_equal(rows[rows["split"].isin(held)], alone.rows[alone.rows["split"].isin(held)])
    pd.testing.assert_frame_equal(rows.drop(columns="group"), alone.rows.drop(columns="group"))


def test_no_copy_of_an_image_to_evaluate_or_to_predict_is_kept_even_where_nothing_else_is_acted_on(
    joined: Manifest,
) -> None:
    extra = joined.rows[joined.is_extra()]
    action = {path.rpartition("/")[2]: action for path, action in zip(extra["path"], extra["action"], strict=True)}
    copies = {name for name in action if name.startswith(("predict", "val", "test", "train"))}
    assert len(copies) == 15
    assert {name for name in action if action[name] == "drop"} == copies
    kept = joined.of_split("train")
    assert kept["path"].str.contains("more|new").sum() == 12


def test_the_counts_of_the_extra_source_are_in_the_metrics(joined_experiment: Experiment, joined: Manifest) -> None:
    folder = stage_result(joined_experiment, "clean").folder
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["extra_sources"] == {
        "found": 27,
        "train": 12,
        "unlabelled": 0,
        "set_aside": 15,
        "copies_of_val_test_or_predict": 12,
        "copies_of_the_main_source": 3,
    }
    assert metrics["label_noise"]["extra"]["labels"] == 12
    assert metrics["found"] == len(joined.rows)


def test_the_shapes_of_extra_images_do_not_choose_the_geometry(
    joined_experiment: Experiment, study_file: Path, data_root: Path, runs: Path, alone: Manifest
) -> None:
    plain = experiment(study_file, data_root, runs, "clean.policy=report")
    of_both = [input_geometry(one, stage_result(one, "clean")) for one in (joined_experiment, plain)]
    assert of_both[0] == of_both[1]
