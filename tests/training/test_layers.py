"""Layers from the stem to the head, and which of them learn."""

import pytest
import torch
from torch import nn

from decant.models.backbones import build_classifier
from decant.models.weights import head_entries
from decant.training.layers import layer_numbers, train_layers, training_mode

ARCHITECTURES = ["test_efficientnet", "test_convnext", "test_vit"]


def network(architecture: str) -> nn.Module:
    return build_classifier(architecture, 3, 32, ["none"], 0)[0].backbone


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_numbers_rise_from_the_stem_to_the_head(architecture: str) -> None:
    backbone = network(architecture)
    numbers = layer_numbers(backbone)
    assert numbers.keys() == dict(backbone.named_parameters()).keys()
    head = head_entries(backbone)
    assert {numbers[name] for name in head} == {max(numbers.values())}
    assert all(number < max(numbers.values()) for name, number in numbers.items() if name not in head)
    stem = next(iter(numbers))
    assert numbers[stem] == 0


def test_modules_are_layers_where_timm_does_not_say() -> None:
    backbone = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)), nn.Linear(4, 2))
    numbers = layer_numbers(backbone)
    assert numbers == {"0.0.weight": 0, "0.0.bias": 0, "0.2.weight": 1, "0.2.bias": 1, "1.weight": 3, "1.bias": 3}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("frozen", [0.0, 0.25, 0.5, 1.0])
def test_the_last_layers_learn_and_the_head_always(architecture: str, frozen: float) -> None:
    backbone = network(architecture)
    train_layers(backbone, frozen)
    numbers = layer_numbers(backbone)
    learning = {numbers[name] for name, value in backbone.named_parameters() if value.requires_grad}
    still = {numbers[name] for name, value in backbone.named_parameters() if not value.requires_grad}
    last = max(numbers.values())
    assert last in learning and not learning & still
    assert len(still) == pytest.approx(frozen * (last - 1), abs=1.01)
    assert not still or max(still) < min(learning)


def test_no_gradient_is_computed_for_frozen_layers() -> None:
    backbone = network("test_efficientnet")
    train_layers(backbone, 0.5)
    seen: list[bool] = []
    backbone.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    backbone(torch.rand(2, 3, 32, 32)).sum().backward()
    assert seen == [False]
    assert all((value.grad is not None) == value.requires_grad for value in backbone.parameters())


@pytest.mark.parametrize("freeze_norm", [False, True])
def test_norms_of_frozen_layers_keep_their_statistics(freeze_norm: bool) -> None:
    classifier, _ = build_classifier("test_efficientnet", 3, 32, ["none"], 0)
    train_layers(classifier.backbone, 0.5)
    training_mode(classifier, freeze_norm)
    norms = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    expected = [module.weight.requires_grad and not freeze_norm for module in norms]
    assert [module.training for module in norms] == expected
    assert freeze_norm or len(set(expected)) == 2
