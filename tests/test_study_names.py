"""Names that become folders and rows of tables."""

import pytest

from decant.errors import UserError
from decant.study import Study
from decant.study_reading import load_study


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".", "-x", "a b"])
def test_a_study_cannot_be_called_what_would_leave_its_folder(name):
    with pytest.raises(UserError, match="name"):
        load_study("micro", [f"name={name}"])


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "student", "ensemble", "lite0_tta"])
def test_a_teacher_cannot_be_called_what_would_leave_its_folder_or_take_another_row(name):
    with pytest.raises(ValueError, match="teacher cannot be called"):
        Study.model_validate({"name": "x", "teachers": {name: {}}, "student": {}})


def test_one_fold_is_refused_since_it_leaves_nothing_to_train_on():
    with pytest.raises(UserError, match="one fold"):
        load_study("micro", ["teachers.convnext.folds=1"])


def test_an_extended_study_is_looked_for_beside_the_one_that_extends_it(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text("name: base\nteachers: {a: {}}\nstudent: {}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nname: mine\n")
    monkeypatch.chdir("/")
    assert load_study(str(tmp_path / "mine.yaml")).name == "mine"
