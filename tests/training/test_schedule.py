"""Learning rates against values worked out by hand, and the weights that they apply to."""

import math

import pytest
import torch
from torch import nn

from decant.models.backbones import build_classifier
from decant.models.weights import is_head
from decant.study import Training
from decant.training.schedule import make_optimizer, parameter_groups, rate_at, set_rate

SETTINGS = Training(learning_rate=0.01, head_lr_factor=10, weight_decay=0.05)


def network(architecture: str = "test_efficientnet") -> nn.Module:
    return build_classifier(architecture, 3, 32, ["none"], 0)[0].backbone


def test_the_rate_rises_linearly_to_its_peak() -> None:
    assert [rate_at(step, 20, 4) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_the_rate_falls_as_a_half_cosine() -> None:
    assert rate_at(4 + 4, 20, 4) == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert rate_at(4 + 8, 20, 4) == pytest.approx(0.5)
    assert rate_at(4 + 12, 20, 4) == pytest.approx(0.5 * (1 - math.sqrt(0.5)))
    assert rate_at(20, 20, 4) == pytest.approx(0.0)


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert rate_at(0, 10, 0) == 1.0


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 2), (5, 5), (3, 9)])
def test_the_rate_of_short_trainings_is_in_range(steps: int, warmup: int) -> None:
    assert all(0 < rate_at(step, steps, warmup) <= 1 for step in range(steps))


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit"])
def test_every_weight_is_in_exactly_one_group(architecture: str) -> None:
    backbone = network(architecture)
    grouped = [id(p) for group in parameter_groups(backbone, SETTINGS) for p in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in backbone.parameters())


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit"])
def test_only_matrices_have_weight_decay(architecture: str) -> None:
    backbone = network(architecture)
    decays = {id(p): g["weight_decay"] for g in parameter_groups(backbone, SETTINGS) for p in g["params"]}
    for name, parameter in backbone.named_parameters():
        expected = 0.05 if parameter.ndim > 1 else 0.0
        assert decays[id(parameter)] == expected, name
        if "norm" in name or name.endswith("bias"):
            assert decays[id(parameter)] == 0.0, name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_head_has_its_own_rate(optimizer: str) -> None:
    backbone = network()
    made = make_optimizer(backbone, SETTINGS.model_copy(update={"optimizer": optimizer}))
    set_rate(made, SETTINGS, share=0.5, head_only=False)
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    for name, parameter in backbone.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.05 if is_head(name) else 0.005), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_head_only_steps_change_nothing_but_the_head(optimizer: str) -> None:
    backbone = network()
    made = make_optimizer(backbone, SETTINGS.model_copy(update={"optimizer": optimizer}))
    before = {name: parameter.detach().clone() for name, parameter in backbone.named_parameters()}
    for _ in range(3):
        for parameter in backbone.parameters():
            parameter.grad = torch.ones_like(parameter)
        set_rate(made, SETTINGS, share=1.0, head_only=True)
        made.step()
    for name, parameter in backbone.named_parameters():
        assert torch.equal(parameter, before[name]) != is_head(name), name


def test_a_step_of_adamw_equals_the_papers() -> None:
    # Loshchilov & Hutter 2019, algorithm 2, first step: m / sqrt(v) is the gradient's sign, and decay is decoupled.
    backbone = nn.Sequential()
    backbone.add_module("body", nn.Linear(1, 1, bias=False))
    nn.init.constant_(backbone.body.weight, 2.0)
    made = make_optimizer(backbone, SETTINGS)
    set_rate(made, SETTINGS, share=0.5, head_only=False)
    backbone.body.weight.grad = torch.tensor([[0.3]])
    made.step()
    assert backbone.body.weight.item() == pytest.approx(2.0 * (1 - 0.005 * 0.05) - 0.005, abs=1e-6)
