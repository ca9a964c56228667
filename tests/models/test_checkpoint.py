"""Checkpoints: loading returns what was saved, and damaged files are user errors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.models.backbones import build_classifier
from decant.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from decant.models.classifier import Classifier, placed

Small = Callable[..., Classifier]
CLASSES = ["Kleinbus", "трамвай", "e-bike, folded", "truck", "car"]


@pytest.fixture
def saved(small: Small, tmp_path: Path) -> Checkpoint:
    """A checkpoint that was saved to `tmp_path`."""
    card = {"architecture": "test_efficientnet", "weights": "none", "study": "micro"}
    checkpoint = Checkpoint(small(), CLASSES, Preprocessing(32, 0.875), card)
    save_checkpoint(tmp_path, checkpoint)
    return checkpoint


def test_every_weight_is_loaded_bit_for_bit(saved: Checkpoint, tmp_path: Path) -> None:
    before, after = saved.classifier.state_dict(), load_checkpoint(tmp_path).classifier.state_dict()
    assert list(before) == list(after)
    assert [key for key, value in before.items() if not torch.equal(value, after[key])] == []
    assert [key for key, value in before.items() if value.dtype != after[key].dtype] == []


def test_classes_preprocessing_and_card_are_loaded(saved: Checkpoint, tmp_path: Path) -> None:
    loaded = load_checkpoint(tmp_path)
    assert loaded.classes == CLASSES
    assert loaded.preprocessing == Preprocessing(32, 0.875)
    assert loaded.card == saved.card


def test_a_loaded_network_gives_the_same_logits(saved: Checkpoint, tmp_path: Path, images: Tensor) -> None:
    with torch.inference_mode():
        assert torch.equal(load_checkpoint(tmp_path).classifier(images), saved.classifier(images))


def test_a_loaded_network_is_in_evaluation_mode(small: Small, tmp_path: Path) -> None:
    training = small().train()
    save_checkpoint(tmp_path, Checkpoint(training, CLASSES, Preprocessing(32), {"architecture": "test_efficientnet"}))
    assert not any(module.training for module in load_checkpoint(tmp_path).classifier.modules())


def test_mean_and_std_are_saved_with_the_weights(small: Small, tmp_path: Path) -> None:
    classifier = small()
    classifier.mean.fill_(0.25)
    classifier.std.fill_(0.125)
    save_checkpoint(tmp_path, Checkpoint(classifier, CLASSES, Preprocessing(32), {"architecture": "test_efficientnet"}))
    loaded = load_checkpoint(tmp_path).classifier
    assert torch.equal(loaded.mean, torch.full((3,), 0.25)) and torch.equal(loaded.std, torch.full((3,), 0.125))


def test_a_network_with_model_args_is_built_with_them_again(tmp_path: Path) -> None:
    args = {"patch_size": 8, "depth": 2}
    classifier, _ = build_classifier("vit_tiny_patch16_224", 5, 64, ["none"], 0, args)
    card = {"architecture": "vit_tiny_patch16_224", "model_args": args}
    save_checkpoint(tmp_path, Checkpoint(classifier, CLASSES, Preprocessing(64), card))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load_checkpoint(tmp_path).classifier(image), classifier.eval()(image))


def test_weights_in_channels_last_order_are_saved_unchanged(small: Small, tmp_path: Path) -> None:
    classifier = small()
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    card = {"architecture": "test_efficientnet"}
    save_checkpoint(tmp_path, Checkpoint(placed(classifier, torch.device("cpu")), CLASSES, Preprocessing(32), card))
    after = load_checkpoint(tmp_path).classifier.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_no_description_is_written_if_writing_the_weights_fails(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("decant.models.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(
            tmp_path, Checkpoint(small(), CLASSES, Preprocessing(32), {"architecture": "test_efficientnet"})
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_file_is_named(saved: Checkpoint, tmp_path: Path, name: str) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "noise"])
def test_a_damaged_file_is_a_user_error(saved: Checkpoint, tmp_path: Path, name: str, damage: str) -> None:
    intact = (tmp_path / name).read_bytes()
    damaged = {"empty": b"", "truncated": intact[: len(intact) // 2], "noise": b"\xff\xfe\x00" * 99}
    (tmp_path / name).write_bytes(damaged[damage])
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("key", ["classes", "preprocessing", "card"])
def test_a_description_without_a_required_key_is_a_user_error(saved: Checkpoint, tmp_path: Path, key: str) -> None:
    description = json.loads((tmp_path / "model.json").read_text())
    del description[key]
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path)


def test_weights_of_another_network_are_a_user_error(saved: Checkpoint, tmp_path: Path) -> None:
    description = json.loads((tmp_path / "model.json").read_text())
    description["card"]["architecture"] = "test_vit"
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path)


def test_a_class_list_of_another_length_is_a_user_error(saved: Checkpoint, tmp_path: Path) -> None:
    description = json.loads((tmp_path / "model.json").read_text())
    description["classes"] = description["classes"][:-1]
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path)
