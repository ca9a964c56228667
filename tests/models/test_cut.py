"""Networks cut out of EfficientNet-Lite: fewer blocks, fewer channels, what is left of the weights."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.models.backbones import build_classifier, embed, head_of
from decant.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from decant.models.cut import cut_state
from decant.models.weights import from_wheel

NAME = "cut_efficientnet_lite0"
SHORT = [1, 1, 2, 2, 2, 2, 1]
BOTH = {"blocks": SHORT, "width": 0.5}


def parameters(**model_args: Any) -> int:
    classifier, _ = build_classifier(NAME, 5, 64, ["none"], 0, model_args)
    return sum(parameter.numel() for parameter in classifier.parameters())


def test_fewer_blocks_and_channels_make_a_smaller_network() -> None:
    sizes = [parameters(**args) for args in ({}, {"blocks": SHORT}, {"width": 0.75}, {"width": 0.5}, BOTH)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.2 * sizes[0]


def test_uncut_it_is_its_parent() -> None:
    classifier, source = build_classifier(NAME, 5, 64, ["wheel"], 0)
    parent, _ = build_classifier("tf_efficientnet_lite0", 5, 64, ["wheel"], 0)
    assert source == "wheel"
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(embed(classifier.eval(), images), embed(parent.eval(), images))


def test_a_shorter_network_has_the_weights_of_the_blocks_that_are_left() -> None:
    parent = from_wheel("tf_efficientnet_lite0")
    state = cut_state(NAME, parent, blocks=SHORT)
    assert "blocks.1.1.conv_pw.weight" in parent and "blocks.1.1.conv_pw.weight" not in state
    assert all(torch.equal(value, parent[key]) for key, value in state.items())


def test_the_channels_of_the_largest_weights_are_left() -> None:
    network = timm.create_model("tf_efficientnet_lite0")
    parent = {key: value.clone() for key, value in network.state_dict().items()}
    strong = torch.arange(0, 1280, 2)
    parent["conv_head.weight"][strong] *= 100
    left = cut_state(NAME, parent, width=0.5)["conv_head.weight"]
    assert left.shape[0] == 640
    assert left.flatten(1).norm(dim=1).min() > parent["conv_head.weight"][1::2].flatten(1).norm(dim=1).max()


@pytest.mark.parametrize("model_args", [{"blocks": SHORT}, {"width": 0.75}, BOTH])
def test_a_checkpoint_is_read_back(tmp_path: Path, model_args: dict[str, Any]) -> None:
    classifier, source = build_classifier(NAME, 3, 64, ["wheel"], 0, model_args)
    card = {"architecture": NAME, "model_args": model_args, "weights": source}
    save_checkpoint(tmp_path, Checkpoint(classifier, ["a", "b", "c"], Preprocessing(64), card))
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(load_checkpoint(tmp_path).classifier(images), classifier.eval()(images))
    assert head_of(classifier).in_features == embed(classifier, images).shape[1]


def test_random_weights_depend_on_the_seed_alone() -> None:
    one, two, other = (build_classifier(NAME, 3, 64, ["none"], seed, BOTH)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    assert not torch.equal(one["backbone.conv_stem.weight"], other["backbone.conv_stem.weight"])


@pytest.mark.parametrize(
    "model_args, message",
    [
        ({"blocks": [1, 2]}, r"blocks is \[1, 2\]; give 7 numbers from 1 to at most \[1, 2, 2, 3, 3, 4, 1\]"),
        ({"blocks": [0, 2, 2, 3, 3, 4, 1]}, "give 7 numbers from 1"),
        ({"blocks": [1, 2, 2, 3, 3, 5, 1]}, "give 7 numbers from 1"),
        ({"width": 0}, "width is 0; give a share"),
        ({"width": 1.5}, "width is 1.5; give a share"),
    ],
)
def test_a_cut_that_leaves_nothing_is_a_users_mistake(model_args: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_classifier(NAME, 3, 64, ["none"], 0, model_args)
