"""The target timm, loaded and run by timm."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config

from decant.data.evaluation_transform import evaluation_transform
from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.export.runtime import OnnxClassifier
from decant.export.targets.timm import crop_pct, write_timm_folder
from decant.models.backbones import blank_classifier
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier

Vehicles = list[tuple[np.ndarray, int]]
MAX_GREY_LEVELS = 1.5  # Pillow rounds to whole grey levels, twice
MIN_TOP1_AGREEMENT = 0.98  # timm's longer side and crop may differ from ours by one pixel


class Consumer:
    """A user's code: timm without decant."""

    def __init__(self, folder: Path) -> None:
        self.model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        self.config = resolve_model_data_config(self.model)
        self.transform = create_transform(**self.config)
        self.names = self.model.pretrained_cfg["label_names"]

    def labels(self, vehicles: Vehicles) -> list[str]:
        with torch.inference_mode():
            logits = [self.model(self.transform(Image.fromarray(image))[None])[0] for image, _ in vehicles]
        return [self.names[int(row.argmax())] for row in logits]

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """The transformed image without its normalisation: float [3, S, S] in [0, 1]."""
        mean, std = (np.array(self.config[name]).reshape(3, 1, 1) for name in ("mean", "std"))
        return self.transform(Image.fromarray(image)).numpy() * std + mean


def agreement(consumer: Consumer, fitted: Checkpoint, vehicles: Vehicles, expected: np.ndarray) -> float:
    wanted = [fitted.classes[index] for index in expected.argmax(axis=1)]
    return float(np.mean([label == right for label, right in zip(consumer.labels(vehicles), wanted, strict=True)]))


def grey_levels(consumer: Consumer, fitted: Checkpoint, images: list[np.ndarray]) -> float:
    """The largest difference from the evaluation transform."""
    differences = [
        consumer.prepared(image) - evaluation_transform(image, fitted.preprocessing).numpy() for image in images
    ]
    return float(255 * max(np.abs(difference).max() for difference in differences))


@pytest.fixture
def same_crop(vehicles: Vehicles) -> list[np.ndarray]:
    """Images that timm and the evaluation transform crop to the same pixels: squares, and one long image."""
    squares = [image[: min(image.shape[:2]), : min(image.shape[:2])] for image, _ in vehicles[:40]]
    return [*squares, np.concatenate([squares[0]] * 2)]


@pytest.fixture
def folder(fitted: Checkpoint, tmp_path: Path) -> Path:
    write_timm_folder(fitted, tmp_path / "timm")
    return tmp_path / "timm"


def test_timm_predicts_the_same_classes_as_the_file(
    folder: Path, fitted: Checkpoint, vehicles: Vehicles, same_crop: list[np.ndarray], expected: np.ndarray
) -> None:
    consumer = Consumer(folder)
    assert agreement(consumer, fitted, vehicles, expected) >= MIN_TOP1_AGREEMENT
    assert grey_levels(consumer, fitted, same_crop) <= MAX_GREY_LEVELS
    assert (consumer.model.num_classes, len(consumer.names)) == (10, 10)
    assert consumer.config["input_size"] == [3, 64, 64]


def test_timm_predicts_exactly_the_files_classes_for_squares_that_need_no_resizing(
    folder: Path, fitted: Checkpoint, fitted_file: Path, vehicles: Vehicles
) -> None:
    """With a resize, Pillow's rounding alone changes the class of the few images close to a decision boundary."""
    side = fitted.preprocessing.resize_px
    squares = [(np.asarray(Image.fromarray(image).resize((side, side))), label) for image, label in vehicles]
    consumer, file = Consumer(folder), OnnxClassifier(fitted_file, threads=1)
    assert grey_levels(consumer, fitted, [image for image, _ in squares]) < 1e-3
    probabilities = np.stack([file.predict(image)[0] for image, _ in squares])
    assert len(squares) == 200 and len(set(probabilities.argmax(axis=1))) == len(fitted.classes)
    assert agreement(consumer, fitted, squares, probabilities) == 1


def permuted(config: dict[str, Any]) -> None:
    config["label_names"] = config["label_names"][1:] + config["label_names"][:1]


def swapped(config: dict[str, Any]) -> None:
    cfg = config["pretrained_cfg"]
    cfg["mean"], cfg["std"] = cfg["std"], cfg["mean"]


@pytest.mark.parametrize("bug", [permuted, swapped])
def test_wrong_labels_or_normalisation_in_the_config_lower_the_agreement(
    folder: Path, fitted: Checkpoint, vehicles: Vehicles, expected: np.ndarray, bug: Callable[[dict], None]
) -> None:
    config = json.loads((folder / "config.json").read_text())
    bug(config)
    (folder / "config.json").write_text(json.dumps(config))
    assert agreement(Consumer(folder), fitted, vehicles, expected) < MIN_TOP1_AGREEMENT


@pytest.mark.parametrize(("key", "value"), [("interpolation", "bicubic"), ("crop_pct", 1.0), ("crop_mode", "squash")])
def test_another_transform_changes_the_grey_levels(
    folder: Path, fitted: Checkpoint, same_crop: list[np.ndarray], key: str, value: object
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    assert grey_levels(Consumer(folder), fitted, same_crop) > MAX_GREY_LEVELS


def test_other_logits_in_timm_are_refused_before_anything_is_written(
    fitted: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = timm.create_model

    def misread(*words: Any, **arguments: Any) -> torch.nn.Module:
        model = load(*words, **arguments)
        torch.nn.init.zeros_(model.get_classifier().bias)
        return model

    monkeypatch.setattr(timm, "create_model", misread)
    with pytest.raises(UserError, match="logits differ by"):
        write_timm_folder(fitted, tmp_path / "timm")
    assert not (tmp_path / "timm").exists()


def test_timm_can_replace_the_head_for_fine_tuning(folder: Path) -> None:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=3)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 3)
    saved = load_file(folder / "model.safetensors")
    torch.testing.assert_close(model.state_dict()["conv_stem.weight"], saved["conv_stem.weight"])


def test_a_network_with_fixed_input_size_keeps_its_size_and_model_args(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = blank_classifier("test_vit", 4, 48, {"depth": 2}).eval()
    card = {"architecture": "test_vit.r160_in1k", "model_args": {"depth": 2}}
    write_timm_folder(Checkpoint(classifier, list("abcd"), Preprocessing(48), card), tmp_path)
    consumer = Consumer(tmp_path)
    assert (consumer.config["input_size"], len(consumer.model.blocks)) == ((3, 48, 48), 2)


def test_a_network_that_timm_does_not_have_is_refused(fitted: Checkpoint, tmp_path: Path) -> None:
    student = Checkpoint(fitted.classifier, fitted.classes, fitted.preprocessing, {"architecture": "small_cnn"})
    with pytest.raises(UserError, match=r"small_cnn.*onnx, transformersjs or triton"):
        write_timm_folder(student, tmp_path)


def test_an_open_clip_student_is_refused_with_the_names_of_other_targets(fitted: Checkpoint, tmp_path: Path) -> None:
    card = {"architecture": "open_clip:ViT-B-32/openai"}
    checkpoint = Checkpoint(fitted.classifier, fitted.classes, fitted.preprocessing, card)
    with pytest.raises(UserError, match=r"open_clip encoder.*onnx, transformersjs or triton"):
        write_timm_folder(checkpoint, tmp_path / "timm")
    assert not (tmp_path / "timm").exists()


def test_timm_computes_our_resize_px_from_crop_pct() -> None:
    for size in range(24, 400):
        for ratio in (1.0, 0.95, 0.9, 0.875, 0.8, 1 / 3):
            preprocessing = Preprocessing(size, ratio)
            assert math.floor(size / crop_pct(preprocessing)) == preprocessing.resize_px, (size, ratio)  # as timm does


@pytest.mark.parametrize(
    ("preprocessing", "crop_mode"),
    [
        (Preprocessing((96, 176)), "center"),
        (Preprocessing(64, 0.875, "stretch"), "squash"),
        (Preprocessing((64, 96), 1.0, "stretch"), "squash"),
        (Preprocessing((64, 96), 1.0, "pad"), "border"),
    ],
)
def test_timms_transform_gives_the_pixels_of_every_fit(
    tmp_path: Path, vehicles: Vehicles, preprocessing: Preprocessing, crop_mode: str
) -> None:
    consumer = consumer_of(tmp_path, preprocessing, (0.5, 0.5, 0.5))
    assert consumer.config["crop_mode"] == crop_mode and tuple(consumer.config["input_size"][1:]) == preprocessing.shape
    height, width = preprocessing.shape  # sizes that both round alike
    images = [
        np.asarray(Image.fromarray(vehicles[0][0]).resize(size)) for size in ((3 * width, 3 * height), (400, 400))
    ]
    for image in images if preprocessing.fit != "crop" else images[:1]:
        difference = consumer.prepared(image) - evaluation_transform(image, preprocessing).numpy()
        assert 255 * np.abs(difference).max() <= MAX_GREY_LEVELS


def consumer_of(folder: Path, preprocessing: Preprocessing, mean: tuple[float, float, float]) -> Consumer:
    backbone = timm.create_model("test_efficientnet", num_classes=4)
    classifier = Classifier(backbone, mean, (0.5, 0.5, 0.5)).eval()
    write_timm_folder(
        Checkpoint(classifier, list("abcd"), preprocessing, {"architecture": "test_efficientnet"}), folder
    )
    return Consumer(folder)


def test_padding_with_another_colour_than_timms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pads images with the network's mean colour"):
        consumer_of(tmp_path, Preprocessing(64, 1.0, "pad"), (0.485, 0.456, 0.406))


def test_a_crop_ratio_that_one_number_cannot_express_for_both_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="timm cannot resize to 96x159 px for an input of 48x80 px"):
        consumer_of(tmp_path, Preprocessing((48, 80), 0.502), (0.5, 0.5, 0.5))


def test_the_weights_are_only_the_backbones(folder: Path, fitted: Checkpoint) -> None:
    assert load_file(folder / "model.safetensors").keys() == fitted.classifier.backbone.state_dict().keys()
