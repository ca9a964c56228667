"""Every study and every recipe in the repository is valid and has a header comment."""

from pathlib import Path

import pytest
import yaml

from decant.study import Ensemble, Student, Teacher, keys_of_reason
from decant.study_files import RECIPE_FOLDERS, read_yaml, study_files
from decant.study_reading import load_study

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = sorted((REPOSITORY / "research" / "studies").glob("*.yaml"))
GPU = [path for path in SHIPPED if path.stem.endswith("_gpu")]
RECIPES = {
    (kind, path): model
    for kind, model in {"teacher": Teacher, "ensemble": Ensemble, "student": Student}.items()
    for path in sorted((REPOSITORY / RECIPE_FOLDERS[kind]).glob("*.yaml"))
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_loads_under_its_own_name_with_the_recipes_it_names(path):
    study = load_study(path.stem)
    assert study.name == path.stem and study.title
    assert all(file.is_file() for file in study_files(path.stem))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_begins_with_what_it_is(path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(("kind", "path"), RECIPES, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_recipe_is_valid_by_itself_and_says_what_it_is(kind, path):
    RECIPES[kind, path].model_validate(yaml.safe_load(path.read_text()))
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(("kind", "path"), RECIPES, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_recipe_gives_reasons_for_its_choices(kind, path):
    recipe = RECIPES[kind, path].model_validate(yaml.safe_load(path.read_text()))
    explained = {key for keys in recipe.why for key in keys_of_reason(keys)}
    assert explained & {"architecture", "tta"}
    assert all(reason.endswith(".") and len(reason.split()) > 2 for reason in recipe.why.values())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_gives_a_reason_where_a_network_deviates_from_its_recipe(path):
    raw = read_yaml(path)
    networks = {**raw.get("teachers", {}), "student": raw.get("student")}
    for name, network in networks.items():
        explained = {key for keys in (network or {}).get("why", {}) for key in keys_of_reason(keys)}
        assert set(network or {}) - {"recipe", "why"} <= explained, name


def test_every_photo_study_has_a_variant_for_a_gpu():
    photos = {"vehicle_dataset", "traffic_vehicles", "cars_body", "cars_make"}
    assert {path.stem.removesuffix("_gpu") for path in GPU} >= photos


@pytest.mark.parametrize("path", GPU, ids=lambda path: path.stem)
def test_a_gpu_study_is_its_study_with_convnext_vit_and_clip_from_hub_weights_as_the_only_teachers(path):
    study, plain = load_study(path.stem), load_study(path.stem.removesuffix("_gpu"))
    assert study.extends == plain.name
    families = {name: (teacher.architecture, teacher.kind, teacher.weights) for name, teacher in study.teachers.items()}
    assert set(families) == {"convnext", "vit", "clip"}
    assert families["convnext"][0].startswith("convnext") and families["convnext"][1:] == ("finetune", ["timm"])
    assert families["vit"][0].startswith("vit") and families["vit"][1:] == ("finetune", ["timm"])
    assert families["clip"][0].startswith("open_clip:ViT") and families["clip"][1:] == ("probe", ["open_clip"])
    same = {"name", "extends", "title", "teachers"}
    assert study.model_dump(exclude=same) == plain.model_dump(exclude=same)


@pytest.mark.parametrize("path", GPU, ids=lambda path: path.stem)
def test_a_gpu_study_says_that_it_was_not_run_here(path):
    header = path.read_text().partition("\nextends")[0]
    assert "Not run with these weights yet" in header


@pytest.mark.parametrize(("label", "suited"), [("aggre", set()), ("worse", {"teachers", "student"})])
def test_the_noisy_cifar10_has_the_same_images_and_splits(label: str, suited: set[str]) -> None:
    noisy, clean = load_study(f"cifar10_{label}"), load_study("cifar10")
    assert noisy.data.label_column == label
    assert noisy.data.model_dump(exclude={"label_column"}) == clean.data.model_dump(exclude={"label_column"})
    others = {"name", "title", "extends", "data", *suited}
    assert noisy.model_dump(exclude=others) == clean.model_dump(exclude=others)


def test_the_random_split_ignores_the_split_that_was_given():
    assert load_study("traffic_vehicles").data.split_file
    assert load_study("traffic_vehicles_random").data.split_file == ""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_photos_that_are_not_free_to_share_stay_here(path):
    study = load_study(path.stem)
    free = study.data.source == "toy_vehicles" or study.name.startswith("traffic_vehicles")
    assert study.data.may_be_shared is free
