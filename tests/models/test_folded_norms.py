"""Folded norms: the same function and the same gradients, and only where a norm follows a convolution."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from decant.models.backbones import build_classifier
from decant.models.classifier import Classifier
from decant.models.folded_norms import disturb_norms, foldable_pairs, folded_copy, folded_norms

SIZE = (64, 64)


def network(architecture: str) -> Classifier:
    """A network whose norms have an effect, in evaluation mode."""
    classifier, _ = build_classifier(architecture, 3, 64, ["none"], 0)
    disturb_norms(classifier, torch.Generator().manual_seed(1))
    return classifier.eval()


def gradients(classifier: Classifier, images: Tensor) -> dict[str, Tensor]:
    classifier.zero_grad()
    classifier(images).square().mean().backward()
    return {name: value.grad.clone() for name, value in classifier.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("architecture", ["test_efficientnet", "resnet18", "mobilenetv4_conv_small_050"])
def test_logits_and_gradients_are_those_of_the_network(architecture: str) -> None:
    classifier, images = network(architecture), torch.rand(4, 3, *SIZE)
    pairs = foldable_pairs(classifier, SIZE)
    norms = [name for name, module in classifier.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert sorted(norm for _, norm in pairs) == sorted(norms)
    expected, slopes = classifier(images), gradients(classifier, images)
    with folded_norms(classifier, pairs):
        torch.testing.assert_close(classifier(images), expected, rtol=1e-4, atol=1e-5)
        found = gradients(classifier, images)
    assert found.keys() == slopes.keys()
    for name, slope in slopes.items():
        assert (found[name] - slope).norm() <= 1e-3 * slope.norm() + 1e-7, name


def test_the_network_is_as_before_after_the_block() -> None:
    classifier, images = network("test_efficientnet"), torch.rand(2, 3, *SIZE)
    before, keys = classifier(images), list(classifier.state_dict())
    with folded_norms(classifier, foldable_pairs(classifier, SIZE)):
        pass
    assert torch.equal(classifier(images), before) and list(classifier.state_dict()) == keys
    assert not any("forward" in vars(module) for module in classifier.modules())


def test_a_norm_is_not_computed_within_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images = network("test_efficientnet"), torch.rand(2, 3, *SIZE)
    pairs = foldable_pairs(classifier, SIZE)
    monkeypatch.setattr(BatchNormAct2d, "forward", lambda self, x: pytest.fail("a norm was computed"))
    with folded_norms(classifier, pairs):
        classifier(images)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "resnet18", "mobilenetv4_conv_small_050"])
def test_a_folded_copy_predicts_the_same_without_a_norm(monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    classifier, images = network(architecture), torch.rand(4, 3, *SIZE)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    expected = classifier(images)
    copy = folded_copy(classifier.train(), foldable_pairs(classifier, SIZE))
    monkeypatch.setattr(nn.functional, "batch_norm", lambda *_, **__: pytest.fail("a norm was computed"))
    torch.testing.assert_close(copy(images), expected, rtol=1e-4, atol=1e-5)
    assert classifier.training and all(
        torch.equal(value, before[key]) for key, value in classifier.state_dict().items()
    )


class Branching(nn.Module):
    """A norm after a sum, and a convolution whose output is used beside its norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.norm, self.last = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.norm(x) + x
        return self.last(self.second(x) + x).mean(dim=(2, 3))


def test_a_convolution_that_is_used_twice_is_not_folded() -> None:
    classifier = Classifier(Branching(), [0.5] * 3, [0.5] * 3)
    assert foldable_pairs(classifier, SIZE) == []


def test_a_pre_activation_network_keeps_the_norms_that_follow_a_sum() -> None:
    classifier = network("resnetv2_50")
    pairs = foldable_pairs(classifier, SIZE)
    assert pairs and not any(norm.endswith("blocks.1.norm1") for _, norm in pairs)
    images = torch.rand(2, 3, *SIZE)
    expected = classifier(images)
    with folded_norms(classifier, pairs):
        torch.testing.assert_close(classifier(images), expected, rtol=1e-3, atol=1e-3 * float(expected.detach().std()))
