"""Which student and which data a file belongs to: what it says of itself is a stranger's word."""

from pathlib import Path

import pytest

from decant.errors import UserError
from decant.stages.support import verified_file as verification
from decant.stages.support.verified_file import fp32_of, stage_folder
from decant.workspace import fingerprint


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


def test_the_stage_that_the_file_names_is_found_and_the_newest_where_it_names_none(tmp_path: Path) -> None:
    named, latest = made(tmp_path / "student" / fingerprint("one")), made(tmp_path / "student" / "latest")
    assert stage_folder(tmp_path, "student", fingerprint("one"), "model.json") == named
    assert stage_folder(tmp_path, "student", None, "model.json") == latest
    with pytest.raises(UserError, match="which the file was made from"):
        stage_folder(tmp_path, "student", fingerprint("other"), "model.json")


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with exports of the students `old` and `new`, the newest of `new`, and one that was interrupted."""
    for name, student in (("1", "old"), ("2", "new"), ("3", "gone"), ("latest", "new")):
        folder = tmp_path / "export" / name
        folder.mkdir(parents=True)
        (folder / "student.onnx").write_text(student)
        if student != "gone":
            (folder / "finished.json").write_text("{}")
    monkeypatch.setattr(verification, "metadata_of", lambda file: {"student": file.read_text()})
    return tmp_path


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"precision": "int8", "student": "new"}, "latest"),
        ({"precision": "int8", "student": "old"}, "1"),
        ({"precision": "int8"}, "latest"),
        ({"precision": "int8", "student": "gone"}, None),
        ({"precision": "fp32", "student": "new"}, None),
        ({}, None),
    ],
)
def test_an_int8_file_stands_in_for_the_export_of_its_own_student(
    exports: Path, said: dict[str, str], name: str | None
) -> None:
    assert fp32_of(exports, said) == (exports / "export" / name / "student.onnx" if name else None)


@pytest.mark.parametrize("said", ["../../elsewhere", "elsewhere", "", ".", "0123456789AB", "0123456789ab\n"])
def test_what_is_no_fingerprint_leads_nowhere(tmp_path: Path, said: str) -> None:
    for place in ("elsewhere", "runs/student", "runs/student/elsewhere", "runs/student/0123456789AB"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "model.json").write_text("{}")
    with pytest.raises(UserError, match="no fingerprint"):
        stage_folder(tmp_path / "runs", "student", said, "model.json")
    absolute = str(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no fingerprint"):
        stage_folder(tmp_path / "runs", "student", absolute, "model.json")
