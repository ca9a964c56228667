"""Study files: values, defaults, and errors that name the key and the mend."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from decant.errors import UserError
from decant.study import Ensemble, Student, Study, Teacher
from decant.study_files import RECIPE_FOLDERS, study_files
from decant.study_reading import describe, load_study

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = sorted((REPOSITORY / "research" / "studies").glob("*.yaml"))
GPU = [path for path in SHIPPED if path.stem.endswith("_gpu")]
RECIPES = {
    (kind, path): model
    for kind, model in {"teacher": Teacher, "ensemble": Ensemble, "student": Student}.items()
    for path in sorted((REPOSITORY / RECIPE_FOLDERS[kind]).glob("*.yaml"))
}

FILES = {
    "research/recipes/net.yaml": "{architecture: resnet18, epochs: 5, ema_share: 0.9, views: {erase: 0.5, flip: 0.1}}",
    "research/recipes/probe.yaml": "{kind: probe, input_px: 64}",
    "ensembles/recipes/flip.yaml": "{tta: [hflip], pooling: greedy}",
    "distill/recipes/small.yaml": "{architecture: resnet10t, epochs: 3, temperature: 2.0}",
    "research/studies/base.yaml": """
        name: base
        data: {source: folder, path: photos.zip, limit: 7, class_names: {lkw: truck, pkw: car}}
        teachers:
          one: {recipe: net, epochs: 8}
          two: {recipe: probe}
        ensemble: {recipe: flip}
        student: {recipe: small}
    """,
}


class Project:
    """A folder of studies and recipes as in the repository, with what a test adds."""

    def __init__(self, root):
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def study(self, name, text):
        return self.write(f"research/studies/{name}.yaml", text)

    def load(self, name="base", *overrides):
        return load_study(str(name), list(overrides), self.root)

    def error(self, name="base", *overrides):
        with pytest.raises(UserError) as caught:
            self.load(name, *overrides)
        return str(caught.value)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


# What a study takes from where


def test_a_key_of_the_study_overrides_the_recipe_and_the_recipe_overrides_the_default(project):
    one = project.load().teachers["one"]
    assert one.epochs == 8  # study
    assert one.architecture == "resnet18" and one.views.erase == 0.5  # recipe
    assert one.batch_size == Teacher().batch_size and one.views.scale == Teacher().views.scale  # default


def test_an_override_has_the_last_word(project):
    assert project.load("base", "teachers.one.epochs=3").teachers["one"].epochs == 3


def test_an_override_of_a_nested_key_leaves_its_neighbours(project):
    views = project.load("base", "teachers.one.views.erase=0").teachers["one"].views
    assert views.erase == 0 and views.flip == 0.1


def test_an_override_changes_one_teacher_alone_even_if_the_file_says_both_at_once(project):
    project.study("twins", "{name: twins, teachers: {a: &net {epochs: 2}, b: *net}, student: {recipe: small}}")
    study = project.load("twins", "teachers.a.epochs=9")
    assert (study.teachers["a"].epochs, study.teachers["b"].epochs) == (9, 2)


def test_an_override_may_name_another_recipe(project):
    project.write("distill/recipes/large.yaml", "{architecture: resnet50, epochs: 30}")
    student = project.load("base", "student.recipe=large").student
    assert (student.architecture, student.epochs) == ("resnet50", 30)


@pytest.mark.parametrize("absolute", [False, True])
def test_a_recipe_may_be_a_path_relative_to_the_checkout(project, absolute):
    path = project.write("runs/base/tuning/one/one_tuned.yaml", "{architecture: resnet34, epochs: 4}")
    recipe = path if absolute else path.relative_to(project.root)
    one = project.load("base", f"teachers.one.recipe={recipe}").teachers["one"]
    assert (one.architecture, one.epochs) == ("resnet34", 8)  # 8: of the study
    project.study("tuned", f"{{name: tuned, extends: base, teachers: {{one: {{recipe: {recipe}}}}}}}")
    assert path in study_files("tuned", project.root)


def test_an_override_may_add_a_teacher_by_its_recipe_and_then_change_it(project):
    teachers = project.load("base", "teachers.three.recipe=net", "teachers.three.epochs=1").teachers
    assert set(teachers) == {"one", "two", "three"}
    assert (teachers["three"].architecture, teachers["three"].epochs) == ("resnet18", 1)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("seed=12", 12),
        ("student.learning_rate=1e-3", 1e-3),
        ("student.views.scale=[0.5, 1]", (0.5, 1.0)),
        ("soft_labels.unlabelled=false", False),
        ("data.path=a=b.zip", "a=b.zip"),
        ("data.path=", ""),
    ],
)
def test_the_value_of_an_override_is_read_as_yaml(project, override, value):
    found = project.load("base", override)
    for key in override.partition("=")[0].split("."):
        found = getattr(found, key)
    assert found == value


def test_the_seed_of_a_study_is_a_whole_number_that_is_not_negative(project):
    assert "seed" in project.error("base", "seed=-1")
    assert "seed" in project.error("base", "seed=many")


def test_a_study_may_be_given_by_path(project, tmp_path):
    path = project.write("elsewhere/mine.yaml", "{name: mine, teachers: {a: {recipe: net}}, student: {recipe: small}}")
    assert project.load(path).name == "mine"


def test_a_soup_that_an_early_stop_would_leave_out_is_refused() -> None:
    with pytest.raises(ValidationError, match="keep: soup averages the last epochs"):
        Teacher(keep="soup", patience=2)
    assert Teacher(keep="best", patience=2).patience == 2


def test_a_study_cannot_be_changed_once_read(project):
    study = project.load()
    with pytest.raises(ValueError, match="frozen"):
        study.seed = 3


# extends


def test_a_variant_takes_everything_but_what_it_says(project):
    project.study("variant", "{extends: base, name: variant, data: {limit: 3}, teachers: {one: {epochs: 2}}}")
    base, variant = project.load(), project.load("variant")
    assert variant.data.limit == 3 and variant.data.path == base.data.path
    assert variant.teachers["one"].epochs == 2 and variant.teachers["one"].architecture == "resnet18"
    same = {"name", "extends", "data", "teachers"}
    assert variant.model_dump(exclude=same) == base.model_dump(exclude=same)


def test_variants_of_variants_are_laid_one_over_another(project):
    project.study("middle", "{extends: base, name: middle, seed: 1, teachers: {one: {epochs: 2}}}")
    project.study("last", "{extends: middle, name: last, teachers: {one: {batch_size: 4}}}")
    last = project.load("last")
    assert (last.seed, last.teachers["one"].epochs, last.teachers["one"].batch_size) == (1, 2, 4)


def test_null_drops_a_teacher(project):
    project.study("variant", "{extends: base, name: variant, teachers: {one: null}}")
    assert set(project.load("variant").teachers) == {"two"}
    assert set(project.load("base", "teachers.one=null").teachers) == {"two"}


def test_null_in_model_args_is_a_value(project):
    project.study("variant", "{extends: base, name: variant, teachers: {one: {model_args: {ls_init_value: null}}}}")
    assert project.load("variant").teachers["one"].model_args["ls_init_value"] is None


def test_null_takes_back_what_the_extended_study_said_so_that_the_recipe_or_the_default_holds(project):
    project.study("variant", "{extends: base, name: variant, data: {limit: null}}")
    assert project.load().data.limit == 7 and project.load("variant").data.limit is None
    assert project.load("base", "data.limit=null").data.limit is None


@pytest.mark.parametrize("key", ["ema_share", "epochs"])
def test_null_takes_back_what_a_recipe_said_through_any_number_of_files(project, key):
    project.study("variant", f"{{extends: base, name: variant, teachers: {{one: {{{key}: null}}}}}}")
    project.study("later", "{extends: variant, name: later, seed: 1}")
    for name, overrides in (("variant", []), ("later", []), ("base", [f"teachers.one.{key}=null"])):
        assert getattr(project.load(name, *overrides).teachers["one"], key) == getattr(Teacher(), key)


def test_a_dropped_teacher_may_come_back_later(project):
    project.study("without", "{extends: base, name: without, teachers: {one: null}}")
    project.study("again", "{extends: without, name: again, teachers: {one: {recipe: net}}}")
    assert project.load("again").teachers["one"].epochs == 5  # the recipe's, not that of the base


def test_a_study_without_any_teacher_is_refused(project):
    assert "teachers" in project.error("base", "teachers.one=null", "teachers.two=null")


def test_class_names_are_replaced_as_a_whole(project):
    project.study("variant", "{extends: base, name: variant, data: {class_names: {bus: coach}}}")
    assert project.load("variant").data.class_names == {"bus": "coach"}


def test_studies_that_extend_each_other_are_an_error(project):
    project.study("a", "{extends: b, name: a}")
    project.study("b", "{extends: a, name: b}")
    assert "extends itself" in project.error("a")
    with pytest.raises(UserError, match="extends itself"):
        study_files("a", project.root)


def test_a_variant_without_a_name_would_overwrite_what_it_extends_and_is_refused(project):
    project.study("variant", "{extends: base, seed: 1}")
    message = project.error("variant")
    assert "variant.yaml" in message and "give it a name" in message


# Errors


@pytest.mark.parametrize(
    ("override", "unknown", "meant"),
    [
        ("sede=1", "sede", "seed"),
        ("data.sorce=csv", "data.sorce", "source"),
        ("data.toy.image=100", "data.toy.image", "images"),
        ("clean.encoder.arch=resnet18", "clean.encoder.arch", "architecture"),
        ("teachers.one.epoch=3", "teachers.one.epoch", "epochs"),
        ("teachers.one.views.flips=0", "teachers.one.views.flips", "flip"),
        ("student.hard_wait=0.5", "student.hard_wait", "hard_weight"),
        ("ensemble.polling=equal", "ensemble.polling", "pooling"),
        ("soft_labels.view=3", "soft_labels.view", "views"),
        ("benchmark.latency_cals=9", "benchmark.latency_cals", "latency_calls"),
    ],
)
def test_an_unknown_key_names_itself_and_the_nearest_one(project, override, unknown, meant):
    assert project.error("base", override) == f"study base: unknown key {unknown}; did you mean {meant}?"


def test_an_unknown_key_like_no_other_lists_the_known_ones(project):
    message = project.error("base", "ensemble.zzz=1")
    assert message == "study base: unknown key ensemble.zzz; known: pooling, recipe, tta, why"


def test_an_unknown_key_of_a_file_or_of_a_recipe_is_an_error_too(project):
    project.write("research/recipes/net.yaml", "{epochs: 5, bach_size: 3}")
    assert "unknown key teachers.one.bach_size; did you mean batch_size?" in project.error()


def test_every_problem_of_a_study_is_told_at_once(project):
    message = project.error("base", "sede=1", "student.epochs=0", "metric=recall")
    assert all(key in message for key in ("sede", "student.epochs", "metric", "'recall'"))


def test_a_missing_section_is_told_without_reciting_the_study(project):
    project.study("bare", "{name: bare, teachers: {a: {recipe: net}}}")
    assert project.error("bare") == "study bare: student is missing"


@pytest.mark.parametrize(
    "override",
    [
        "student.views.scale=[0, 1]",
        "student.views.scale=[0.5, 1.5]",
        "student.views.ratio=[0, 1]",
        "student.views.flip=1.1",
        "student.views.mix=-0.1",
        "student.temperature=0",
        "student.crop_ratio=0",
        "student.label_smoothing=1",
        "student.hard_weight=2",
        "data.val_fraction=0",
        "soft_labels.views=0",
        "teachers.one.folds=-1",
        "ensemble.pooling=best",
        "student.weights=wheel",
    ],
)
def test_a_value_out_of_its_range_names_its_key(project, override):
    assert override.partition("=")[0] in project.error("base", override)


def test_a_key_with_several_types_is_named_once_without_the_names_of_types(project):
    message = project.error("base", "student.hard_weight=2")
    assert message.startswith("study base: student.hard_weight: Input should be less than or equal to 1 or ")
    assert message.count("student.") == 1 and message.endswith("(got 2)")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("student.epochs", "write it as key.key=value"),
        ("", "write it as key.key=value"),
        ("seed.low=1", "seed is a value and has no keys below it"),
        ("data.path.below=1", "path is a value and has no keys below it"),
        ("student.weights=[wheel", "not a YAML value"),
        ("teachers.tow.epochs=3", "no teacher tow; did you mean two?"),
        ("teachers.zzzzzz.views.flip=0", "no teacher zzzzzz; known: one, two"),
    ],
)
def test_an_override_that_cannot_be_applied_says_why(project, override, told):
    project.study("seeded", "{extends: base, name: seeded, seed: 3}")
    message = project.error("seeded", override)
    assert message.startswith(f"--set {override}:") and told in message


def test_a_study_that_is_not_there_lists_those_that_are(project):
    project.study("other", "{}")
    assert project.error("bsae") == "no study 'bsae': give a path to a .yaml file or one of base, other"


def test_a_recipe_that_is_not_there_names_the_nearest(project):
    message = project.error("base", "student.recipe=smal")
    assert "distill/recipes/smal.yaml does not exist; did you mean small?" in message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "a: [1,", "\t\tb: 1"])
def test_a_file_that_is_no_mapping_is_named(project, text):
    assert "broken.yaml" in project.error(project.study("broken", text))


def test_a_file_in_another_encoding_is_named(project):
    path = project.study("latin", "")
    path.write_bytes("name: Straße\n".encode("latin-1"))
    assert "latin.yaml is not readable YAML" in project.error("latin")


# Provenance and help


def test_study_files_are_the_study_those_it_extends_and_the_recipes_that_remain(project):
    project.study("variant", "{extends: base, name: variant, teachers: {two: null}}")
    files = [path.relative_to(project.root).as_posix() for path in study_files("variant", project.root)]
    assert files == [
        "research/studies/variant.yaml",
        "research/studies/base.yaml",
        "research/recipes/net.yaml",
        "ensembles/recipes/flip.yaml",
        "distill/recipes/small.yaml",
    ]


def leaves(schema, node, prefix=""):
    """(key, description) of every value below a node of pydantic's JSON schema."""
    for name, field in node["properties"].items():
        key = f"{prefix}{name}"
        if name == "teachers":
            field, key = field["additionalProperties"], "teachers.NAME"
        of_each = field.get("items", {})
        if "$ref" in of_each:  # a list of sections
            yield f"{key}.NUMBER", field.get("description", "")
            field, key = of_each, f"{key}.NUMBER"
        if "$ref" in field:
            yield from leaves(schema, schema["$defs"][field["$ref"].rpartition("/")[2]], key + ".")
        else:
            yield key, field.get("description", "")


def test_help_lists_every_key_once_with_its_description():
    schema = Study.model_json_schema()
    expected = list(leaves(schema, schema))
    assert len(expected) > 90
    assert [key for key, description in expected if not description.strip()] == []
    lines = [re.fullmatch(r"  ([\w.]+)(?: \(.*\))?: (.+)", line) for line in describe()]
    assert [line.groups() for line in lines] == expected


def test_help_tells_the_defaults():
    lines = describe()
    assert "  student.temperature (1.0): T of Hinton et al. (2015); or [first, last epoch], linear between" in lines
    assert any(line.startswith("  name: ") for line in lines)
