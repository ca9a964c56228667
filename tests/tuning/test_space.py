"""Spaces: what a line means, how the recipe stays inside, and which mistakes are named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from decant.errors import UserError
from decant.models.backbones import TRANSFORMERS, is_transformer
from decant.study import Teacher
from decant.study_files import RECIPE_FOLDERS, ROOT
from decant.tuning.space import SPACES, Space, family_of, read_space, values_of

SpaceOf = Callable[..., Space]
SHIPPED = sorted(SPACES.glob("*.yaml"))
RECIPES = sorted((ROOT / RECIPE_FOLDERS["teacher"]).glob("*.yaml"))


def test_there_is_a_space_for_each_family() -> None:
    assert [path.stem for path in SHIPPED] == ["convnet", "probe", "scratch", "transformer"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_key_of_a_shipped_space_is_a_key_of_a_teacher_and_its_header_says_what_it_is(path: Path) -> None:
    assert set(yaml.safe_load(path.read_text())) <= set(values_of(Teacher()))
    assert path.read_text().startswith("# What to try for ")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_lies_in_the_space_of_its_family_and_comes_back_from_it(path: Path) -> None:
    recipe = Teacher.model_validate(yaml.safe_load(path.read_text()))
    space = read_space(SPACES / f"{family_of(recipe)}.yaml", recipe, "some_study", "net")
    assert all(space.distributions[key]._contains(space.distributions[key].to_internal_repr(value))
               for key, value in space.recipe.items())  # fmt: skip
    assert space.teacher(space.recipe).model_dump() == recipe.model_dump()


@pytest.mark.parametrize(
    ("values", "family"),
    [
        ({"architecture": "convnext_nano", "weights": ["timm"]}, "convnet"),
        ({"architecture": "tf_efficientnet_lite0", "weights": ["wheel", "none"]}, "convnet"),
        ({"architecture": "repvit_m1", "weights": ["timm"]}, "convnet"),
        ({"architecture": "vit_small_patch32_224", "weights": ["timm"]}, "transformer"),
        ({"architecture": "deit3_small_patch16_224", "weights": ["timm"]}, "transformer"),
        ({"architecture": "swin_tiny_patch4_window7_224", "weights": ["timm"]}, "transformer"),
        ({"architecture": "vit_tiny_patch16_224", "weights": ["none"]}, "scratch"),
        ({"kind": "probe", "architecture": "open_clip:ViT-B-32-quickgelu/openai", "weights": ["open_clip"]}, "probe"),
    ],
)
def test_a_family_follows_from_kind_weights_and_architecture(values: dict, family: str) -> None:
    assert family_of(Teacher(**values)) == family


def test_the_names_of_transformers_are_files_of_timm() -> None:
    files = {timm.model_entrypoint(name).__module__.rpartition(".")[2] for name in timm.list_models()}
    assert set(TRANSFORMERS) <= files
    assert is_transformer("open_clip:ViT-B-32") and not is_transformer("open_clip:RN50")


def test_a_range_may_be_in_multiples_of_the_recipes_value(space_of: SpaceOf) -> None:
    space = space_of("learning_rate: {times: [0.5, 4], log: true}", Teacher(learning_rate=2e-3))
    assert space.distributions["learning_rate"] == FloatDistribution(1e-3, 8e-3, log=True)


def test_a_whole_number_stays_one(space_of: SpaceOf) -> None:
    space = space_of("epochs: {times: [0.5, 2.1]}", Teacher(epochs=5))
    assert space.distributions["epochs"] == IntDistribution(2, 10)


def test_a_space_without_the_recipes_value_is_widened_to_it(space_of: SpaceOf) -> None:
    lines = "drop_path: {range: [0.1, 0.2]}\nbatch_size: {choices: [8, 16]}"
    space = space_of(lines, Teacher(drop_path=0.4, batch_size=48))
    assert space.distributions["drop_path"] == FloatDistribution(0.1, 0.4)
    assert space.distributions["batch_size"] == CategoricalDistribution([48, 8, 16])


def test_lists_and_truth_values_can_be_chosen(space_of: SpaceOf) -> None:
    space = space_of("views.scale: {choices: [[0.5, 1]]}\nfreeze_norm: {choices: [true, false]}")
    teacher = space.teacher({"views.scale": "[0.5, 1.0]", "freeze_norm": True})
    assert teacher.views.scale == (0.5, 1.0) and teacher.freeze_norm is True
    assert space.recipe == {"views.scale": "[0.35, 1.0]", "freeze_norm": False}


def test_drawn_numbers_have_three_digits_and_the_recipes_keep_theirs(space_of: SpaceOf) -> None:
    space = space_of("learning_rate: {range: [1.0e-4, 1.0e-2]}", Teacher(learning_rate=0.00123456))
    assert space.settings({"learning_rate": 0.00234567}) == {"learning_rate": 0.00235}
    assert space.settings({"learning_rate": 0.00123456}) == {"learning_rate": 0.00123456}


def test_rounding_does_not_leave_the_range(space_of: SpaceOf) -> None:
    space = space_of("weight_decay: {range: [0.02, 0.09994]}")
    assert space.settings({"weight_decay": 0.09993}) == {"weight_decay": 0.0999}
    space = space_of("weight_decay: {range: [0.02, 0.09996]}")
    assert space.settings({"weight_decay": 0.099955}) == {"weight_decay": 0.09996}


def test_the_size_of_an_encoder_with_a_fixed_input_is_not_searched(space_of: SpaceOf) -> None:
    lines = "input_px: {choices: [96, 224]}\ncrop_ratio: {choices: [0.9]}"
    fixed = Teacher(kind="probe", architecture="vit_small_patch32_224", input_px=224)
    assert list(space_of(lines, fixed).distributions) == ["crop_ratio"]
    assert list(space_of(lines, Teacher(kind="probe")).distributions) == ["input_px", "crop_ratio"]


def test_stochastic_depth_is_searched_where_a_network_has_it(space_of: SpaceOf) -> None:
    lines = "drop_path: {range: [0, 0.2]}\nweight_decay: {range: [0.02, 0.2]}"
    assert list(space_of(lines, Teacher(architecture="small_cnn", input_px=32)).distributions) == ["weight_decay"]
    assert "drop_path" in space_of(lines, Teacher(architecture="test_convnext", input_px=32)).distributions


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("learning_rat: {range: [0.1, 1]}", "learning_rat is not a key .* did you mean learning_rate"),
        ("recipe: {choices: [lite0]}", "recipe is not a key"),
        ("drop_path: {range: [0.1, 1.5]}", r"teachers\.net\.drop_path: .*less than 1 \(got 1.5\)"),
        ("optimizer: {choices: [adam]}", r"teachers\.net\.optimizer: .*'adamw' or 'sgd'"),
        ("drop_path: {range: [0, 0.3], log: true}", "drop_path can be 0, which no logarithmic scale contains"),
        ("drop_path: {range: [0.3, 0.1]}", "drop_path: low must be below high"),
        ("drop_path: {rang: [0.1, 0.3]}", r"drop_path\.rang: .*\{range: \[low, high\]\}"),
        ("drop_path: {range: [0, 0.3], choices: [0]}", "drop_path: write it as"),
        ("drop_path: 0.3", "drop_path: .*write it as"),
        ("optimizer: {range: [0, 1]}", "optimizer of the recipe is adamw, not a number; give choices"),
        ("{}", "contains no key"),
        ("- drop_path", "a mapping of keys to values is expected"),
    ],
)
def test_a_mistake_in_a_space_names_the_file_and_the_key(space_of: SpaceOf, lines: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        space_of(lines)
    assert "space.yaml" in str(raised.value) and "\n" not in str(raised.value)
