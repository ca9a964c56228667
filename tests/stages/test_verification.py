"""Which student and which data a file belongs to: what it says of itself is a stranger's word."""

from pathlib import Path

import pytest

from decant.errors import UserError
from decant.stages.verification import stage_folder
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
