"""Which networks are taken: by device, by hubs and their cache, and by files. No network is asked.

The hub is a folder in the layout of huggingface_hub's cache, read by the code that reads a download.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import yaml
from huggingface_hub import constants
from safetensors.torch import save_file

from decant.errors import UserError
from decant.models import weights
from decant.models.weights import is_cached, load_weights
from decant.proposal.networks import CHOICE, chosen_networks, network_sets
from decant.study_files import ROOT, read_yaml

SMALL = "test_convnext"  # a timm network with a hub address and a few thousand weights
REPOSITORY = timm.get_pretrained_cfg(SMALL).hf_hub_id


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of huggingface_hub; a request that it cannot answer fails."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put_weights_in(hub: Path) -> None:
    """Lay the network's weights into the cache as a download would."""
    revision = "0" * 40
    place = hub / f"models--{REPOSITORY.replace('/', '--')}"
    for folder in ("refs", f"snapshots/{revision}"):
        (place / folder).mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    state = {key: value.contiguous() for key, value in timm.create_model(SMALL).state_dict().items()}
    save_file(state, place / "snapshots" / revision / "model.safetensors")


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a list of two sets: one with these weights, and one with random weights."""

    def write(*sources: str, device: str = "cpu") -> Path:
        root = tmp_path / "checkout"
        for folder, name, sources_of in (
            ("research/recipes", "better", list(sources)),
            ("research/recipes", "plain", ["none"]),
            ("distill/recipes", "plain", ["none"]),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            recipe = {"architecture": SMALL, "weights": sources_of, "input_px": 32}
            (root / folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        sets = {
            "better": {"device": device, "teachers": {"t": "better"}},
            "plain": {"device": "any", "teachers": {"t": "plain"}},
        }
        common = {"student": "plain", "teacher_px": 64, "student_px": 64}
        (root / CHOICE).write_text(
            yaml.safe_dump({name: {**row, **common} for name, row in sets.items()}, sort_keys=False)
        )
        return root

    return write


def taken(root: Path, device: str = "cpu", allow_downloads: bool = False) -> tuple[str, dict[str, str]]:
    choice = chosen_networks(device, allow_downloads, root)
    return choice.networks.name, dict(choice.passed_over)


def test_a_hub_that_may_not_be_asked_is_passed_over_and_named(
    hub: Path, checkout: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "from_timm", lambda architecture: pytest.fail("the hub was asked"))
    name, passed_over = taken(checkout("timm"))
    assert name == "plain" and "download" in passed_over["better"]


def test_weights_in_the_cache_need_no_permission(hub: Path, checkout: Callable[..., Path]) -> None:
    assert not is_cached("timm", SMALL)
    put_weights_in(hub)
    assert is_cached("timm", SMALL)
    assert taken(checkout("timm")) == ("better", {})


def test_what_the_choice_found_is_what_training_loads(hub: Path) -> None:
    put_weights_in(hub)
    assert load_weights(timm.create_model(SMALL), SMALL, ["timm"]) == "timm"


def test_with_permission_the_weights_are_fetched(hub: Path, checkout: Callable[..., Path]) -> None:
    root = checkout("timm")
    name, passed_over = taken(root, allow_downloads=True)
    assert name == "plain" and "could not load" in passed_over["better"]
    put_weights_in(hub)
    assert taken(root, allow_downloads=True) == ("better", {})


def test_a_file_of_weights_is_taken_if_it_fits(hub: Path, checkout: Callable[..., Path], tmp_path: Path) -> None:
    root = checkout(f"file:{tmp_path / 'weights.safetensors'}")
    assert taken(root)[0] == "plain"
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "weights.safetensors")
    assert taken(root)[0] == "plain"
    save_file(timm.create_model(SMALL).state_dict(), tmp_path / "weights.safetensors")
    assert taken(root) == ("better", {})


def test_a_set_for_another_device_is_not_considered(hub: Path, checkout: Callable[..., Path]) -> None:
    put_weights_in(hub)
    root = checkout("timm", device="cuda")
    assert taken(root, "cpu") == ("plain", {})
    assert taken(root, "cuda") == ("better", {})


def test_without_any_weights_every_reason_is_given(hub: Path, checkout: Callable[..., Path]) -> None:
    root = checkout("timm")
    rows = read_yaml(root / CHOICE)
    (root / CHOICE).write_text(yaml.safe_dump({"better": rows["better"]}))
    with pytest.raises(UserError, match="better: test_convnext"):
        chosen_networks("cpu", False, root)


def test_open_clip_is_looked_up_under_its_own_files(hub: Path) -> None:
    architecture = "open_clip:ViT-B-32-quickgelu/openai"
    assert not is_cached("open_clip", architecture)
    place = hub / "models--timm--vit_base_patch32_clip_224.openai"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("1" * 40)
    (place / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (place / "snapshots" / ("1" * 40) / "open_clip_model.safetensors").write_bytes(b"")
    assert is_cached("open_clip", architecture)


def test_the_shipped_list_is_for_a_gpu_then_a_cpu_then_any_machine() -> None:
    sets = network_sets()
    assert [networks.device for networks in sets] == ["cuda", "cpu", "any"]
    for networks in sets:
        assert (ROOT / "distill" / "recipes" / f"{networks.student}.yaml").is_file()
        assert all((ROOT / "research" / "recipes" / f"{name}.yaml").is_file() for name in networks.teachers.values())


def test_this_machine_can_have_the_last_set_without_a_hub(hub: Path) -> None:
    choice = chosen_networks("cpu", False)
    assert choice.networks == network_sets()[-1] and len(choice.passed_over) == 1
