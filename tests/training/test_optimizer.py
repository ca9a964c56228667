"""Which weights have which learning rate and weight decay."""

import pytest
import torch
from torch import nn

from decant.models.backbones import build_classifier
from decant.models.weights import head_entries
from decant.study import Training
from decant.training.layers import layer_numbers
from decant.training.optimizer import make_optimizer, parameter_groups, set_rate

SETTINGS = Training(learning_rate=0.01, head_lr_factor=10, weight_decay=0.05)


def network(architecture: str = "test_efficientnet") -> nn.Module:
    return build_classifier(architecture, 3, 32, ["none"], 0)[0].backbone


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
    set_rate(made, 0.5 * SETTINGS.learning_rate)
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    head = head_entries(backbone)
    for name, parameter in backbone.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.05 if name in head else 0.005), name


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit", "fast_cnn"])
def test_the_biases_of_norms_have_their_own_rate(architecture: str) -> None:
    backbone = network(architecture)
    found, usual = (
        {id(p): g["factor"] for g in parameter_groups(backbone, settings) for p in g["params"]}
        for settings in (SETTINGS.model_copy(update={"norm_bias_lr_factor": 64, "layer_decay": 0.5}),
                         SETTINGS.model_copy(update={"layer_decay": 0.5}))
    )  # fmt: skip
    modules = dict(backbone.named_modules())
    scaled = {
        name
        for name, parameter in backbone.named_parameters()
        if name.endswith(".bias") and "Norm" in type(modules[name.removesuffix(".bias")]).__name__
    }
    assert scaled
    for name, parameter in backbone.named_parameters():
        assert found[id(parameter)] == usual[id(parameter)] * (64 if name in scaled else 1), name


def test_a_step_of_adamw_equals_the_papers() -> None:
    # Loshchilov & Hutter 2019, algorithm 2, first step: m / sqrt(v) is the gradient's sign, and decay is decoupled.
    backbone = nn.Sequential()
    backbone.add_module("body", nn.Linear(1, 1, bias=False))
    nn.init.constant_(backbone.body.weight, 2.0)
    made = make_optimizer(backbone, SETTINGS)
    set_rate(made, 0.5 * SETTINGS.learning_rate)
    backbone.body.weight.grad = torch.tensor([[0.3]])
    made.step()
    assert backbone.body.weight.item() == pytest.approx(2.0 * (1 - 0.005 * 0.05) - 0.005, abs=1e-6)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit"])
def test_a_layers_rate_is_the_next_layers_times_the_decay(architecture: str) -> None:
    backbone = network(architecture)
    settings = SETTINGS.model_copy(update={"layer_decay": 0.5, "head_lr_factor": 1.0})
    factors = {id(p): group["factor"] for group in parameter_groups(backbone, settings) for p in group["params"]}
    numbers = layer_numbers(backbone)
    for name, parameter in backbone.named_parameters():
        assert factors[id(parameter)] == 0.5 ** (max(numbers.values()) - numbers[name]), name


def test_steps_of_sgd_are_those_of_torchs_plain_sgd() -> None:
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    networks[1].load_state_dict(networks[0].state_dict())
    made = make_optimizer(networks[0], SETTINGS.model_copy(update={"optimizer": "sgd", "weight_decay": 0.0}))
    plain = torch.optim.SGD(networks[1].parameters(), lr=SETTINGS.learning_rate, momentum=0.9, nesterov=True)
    for step in range(3):
        for network, optimizer in zip(networks, (made, plain), strict=True):
            optimizer.zero_grad()
            network(torch.full((2, 3), 0.1 * (step + 1))).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(networks[0].state_dict(), networks[1].state_dict())
