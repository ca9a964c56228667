"""A head from class names, with a CLIP of a few thousand weights: its logits are those of open_clip's two towers."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from decant.errors import UserError
from decant.models.backbones import build_classifier, embed
from decant.models.zero_shot import zero_shot_head

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
CLASSES = ["fire_engine", "bus", "{odd}"]
PROMPTS = ["a photo of a {}.", "a {} in the rain"]
ARCHITECTURE = "open_clip:tiny-clip/tag"


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A model with random weights, which open_clip also returns for its tag."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-clip", TINY)
    torch.manual_seed(3)
    model: nn.Module = open_clip.create_model("tiny-clip").eval()
    create = open_clip.create_model
    monkeypatch.setattr(
        open_clip, "create_model", lambda name, pretrained=None: model if pretrained == "tag" else create(name)
    )
    return model


def by_hand(clip: nn.Module) -> np.ndarray:
    """float32 [K, D]: each text normalised, the mean of a class normalised, times CLIP's scale."""
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    rows = []
    for label in ("fire engine", "bus", "{odd}"):
        with torch.inference_mode():
            texts = clip.encode_text(tokenizer([f"a photo of a {label}.", f"a {label} in the rain"])).numpy()
        mean = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).mean(axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows) * float(clip.logit_scale.exp().detach())


def test_text_embeddings_are_normalised_averaged_and_normalised_again(clip: nn.Module) -> None:
    weight = zero_shot_head(ARCHITECTURE, "open_clip", CLASSES, PROMPTS, torch.device("cpu"))
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight, by_hand(clip), atol=1e-4)


def test_the_head_gives_the_logits_of_the_two_towers(clip: nn.Module) -> None:
    weight = zero_shot_head(ARCHITECTURE, "open_clip", CLASSES, PROMPTS[:1], torch.device("cpu"))
    classifier, _ = build_classifier(ARCHITECTURE, 3, 32, ["open_clip"], seed=0)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    texts = open_clip.get_tokenizer("tiny-clip")([f"a photo of a {name.replace('_', ' ')}." for name in CLASSES])
    with torch.inference_mode():
        features = F.normalize(embed(classifier.eval(), images), dim=1)
        normalised = (images - classifier.mean.view(1, 3, 1, 1)) / classifier.std.view(1, 3, 1, 1)
        expected = clip.get_logits(normalised, texts)[0]
    np.testing.assert_allclose(features.numpy() @ weight.T, expected.numpy(), atol=1e-3)


def test_a_file_of_open_clip_has_both_towers(clip: nn.Module, tmp_path: Path) -> None:
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, tmp_path / "clip.safetensors")
    source = f"file:{tmp_path / 'clip.safetensors'}"
    classifier, _ = build_classifier(ARCHITECTURE, 3, 32, [source], seed=9)
    assert torch.equal(classifier.state_dict()["backbone.0.proj"], clip.visual.proj)
    weight = zero_shot_head(ARCHITECTURE, source, CLASSES, PROMPTS, torch.device("cpu"))
    np.testing.assert_allclose(weight, by_hand(clip), atol=1e-4)


def test_a_file_without_the_text_tower_is_refused(clip: nn.Module, tmp_path: Path) -> None:
    visual = {f"visual.{key}": value.contiguous() for key, value in clip.visual.state_dict().items()}
    save_file(visual, tmp_path / "image.safetensors")
    source = f"file:{tmp_path / 'image.safetensors'}"
    assert build_classifier(ARCHITECTURE, 3, 32, [source], seed=9)[1] == source
    with pytest.raises(UserError, match=r"text tower.*entries are missing"):
        zero_shot_head(ARCHITECTURE, source, CLASSES, PROMPTS, torch.device("cpu"))


def test_random_weights_have_no_text_tower(clip: nn.Module) -> None:
    with pytest.raises(UserError, match="none: it has no text tower"):
        zero_shot_head(ARCHITECTURE, "none", CLASSES, PROMPTS, torch.device("cpu"))


def test_a_tokenizer_on_an_unreachable_hub_is_a_user_error(clip: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str) -> None:
        raise OSError("offline")

    monkeypatch.setattr(open_clip, "get_tokenizer", unreachable)
    with pytest.raises(UserError, match=r"no tokenizer for tiny-clip \(offline\)"):
        zero_shot_head(ARCHITECTURE, "open_clip", CLASSES, PROMPTS, torch.device("cpu"))
