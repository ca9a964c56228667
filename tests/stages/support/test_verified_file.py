"""The student and the data of a file; its own metadata are not trusted."""

from pathlib import Path

import pytest

from decant.errors import UserError
from decant.stages.support import verified_file
from decant.stages.support.verified_file import fp32_of, stage_folder
from decant.workspace import Workspace, fingerprint, point_latest


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


def test_the_stage_that_the_file_names_is_found_and_the_newest_where_it_names_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "study")
    named, newest = (made(workspace.store / "student" / fingerprint(name)) for name in ("one", "two"))
    point_latest(workspace.folder / "student", newest)
    assert stage_folder(workspace, "student", fingerprint("one"), "model.json") == named
    assert stage_folder(workspace, "student", None, "model.json").samefile(newest)
    with pytest.raises(UserError, match="which the file was made from"):
        stage_folder(workspace, "student", fingerprint("other"), "model.json")


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A store with exports of the students `old` and `new`, the newest of `new`, and one that was interrupted."""
    workspace = Workspace(tmp_path, "study")
    for name, student in (("1", "old"), ("2", "new"), ("3", "gone"), ("4", "new")):
        folder = workspace.store / "export" / name
        folder.mkdir(parents=True)
        (folder / "student.onnx").write_text(student)
        if student != "gone":
            (folder / "finished.json").write_text("{}")
    point_latest(workspace.folder / "export", workspace.store / "export" / "4")
    monkeypatch.setattr(verified_file, "metadata_of", lambda file: {"student": file.read_text()})
    return workspace


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"dtype": "int8", "student": "new"}, "4"),
        ({"dtype": "int8", "student": "old"}, "1"),
        ({"dtype": "int8"}, "4"),
        ({"dtype": "int8", "student": "gone"}, None),
        ({"dtype": "fp32", "student": "new"}, None),
        ({}, None),
    ],
)
def test_an_int8_file_stands_in_for_the_export_of_its_own_student(
    exports: Workspace, said: dict[str, str], name: str | None
) -> None:
    file = fp32_of(exports, said)
    assert (file and file.resolve()) == (exports.store / "export" / name / "student.onnx" if name else None)


@pytest.mark.parametrize("said", ["../../elsewhere", "elsewhere", "", ".", "0123456789AB", "0123456789ab\n"])
def test_what_is_no_fingerprint_leads_nowhere(tmp_path: Path, said: str) -> None:
    for place in ("elsewhere", "runs/store/student", "runs/store/student/elsewhere", "runs/store/student/0123456789AB"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "model.json").write_text("{}")
    with pytest.raises(UserError, match="no fingerprint"):
        stage_folder(Workspace(tmp_path / "runs", "study"), "student", said, "model.json")
    absolute = str(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no fingerprint"):
        stage_folder(Workspace(tmp_path / "runs", "study"), "student", absolute, "model.json")
