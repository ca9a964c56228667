"""The reasons beside a study's choices: which survive an override, and that no stage ever reads them."""

import json
from pathlib import Path

import pytest
import yaml

from decant.errors import UserError
from decant.study import Choice, Study, Teacher, documented, non_defaults
from decant.study_reading import load_study

STUDY = {
    "name": "small",
    "teachers": {"a": {"recipe": "lite0", "epochs": 7, "why": {"epochs": "few images"}}},
    "student": {"recipe": "micro"},
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


def reasons_of(path: Path, *overrides: str) -> dict[str, str]:
    return load_study(str(path), list(overrides)).teachers["a"].why


def test_a_study_has_its_own_reasons_and_those_of_its_recipes(small: Path) -> None:
    assert {"epochs", "head, freeze_norm", "views"} <= set(reasons_of(small))


@pytest.mark.parametrize(
    ("override", "lost"),
    [
        ("teachers.a.epochs=8", "epochs"),
        ("teachers.a.head=random", "head, freeze_norm"),
        ("teachers.a.views.mix=0.1", "views"),
    ],
)
def test_a_value_that_is_replaced_loses_its_reason(small: Path, override: str, lost: str) -> None:
    assert set(reasons_of(small)) - set(reasons_of(small, override)) == {lost}


def test_a_study_that_extends_another_keeps_the_reasons_of_what_it_keeps(small: Path) -> None:
    heir = small.with_name("heir.yaml")
    heir.write_text(yaml.safe_dump({"extends": str(small), "name": "heir", "teachers": {"a": {"views": {"mix": 0.1}}}}))
    assert "epochs" in reasons_of(heir) and "views" not in reasons_of(heir)


def test_a_reason_for_an_unknown_key_names_the_nearest(small: Path) -> None:
    with pytest.raises(UserError, match=r"teachers\.a\.why.*no key epoch; did you mean epochs"):
        load_study(str(small), ["teachers.a.why={epoch: few images}"])


def test_a_reason_is_in_no_dump_of_a_section_so_no_fingerprint_can_contain_it() -> None:
    told, untold = Teacher(why={"epochs": "few images"}, epochs=7), Teacher(epochs=7)
    assert non_defaults(told) == non_defaults(untold) == {"epochs": 7}
    assert told.model_dump() == untold.model_dump() and told.model_dump_json() == untold.model_dump_json()


def test_every_key_of_a_study_that_a_person_chooses_takes_a_reason() -> None:
    chosen = ("data", "geometry", "clean", "ensemble", "soft_labels", "student", "export")
    assert all(issubclass(Study.model_fields[name].annotation, Choice) for name in chosen)  # type: ignore[arg-type]
    assert issubclass(Study, Choice) and issubclass(Teacher, Choice)


def test_the_documented_study_has_every_value_and_the_reasons(small: Path) -> None:
    study = load_study(str(small))
    content = documented(study)
    assert json.loads(json.dumps(content)) == content
    assert content["teachers"]["a"]["why"]["epochs"] == "few images" and "why" not in content["data"]
    without = {**content["teachers"]["a"]}
    without.pop("why")
    assert without == study.model_dump(mode="json")["teachers"]["a"]
