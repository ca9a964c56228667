"""A finished study's file, verified by name: its own student, its own pictures, and nothing built for it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from decant.data.manifest import read_manifest
from decant.errors import UserError

Micro = Any
At = Callable[[str], ModuleType]


def verify(script_at: At, micro: Micro, *words: str) -> None:
    script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(micro.place / "runs"), *words])


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_studys_pictures_and_student_are_found_and_nothing_is_built(
    script_at: At, micro: Micro, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    before = micro.files()
    words = [] if split == "val" else ["--split", split]
    verify(script_at, micro, "--json", str(tmp_path / "found.json"), *words)
    assert micro.files() == before
    told = capsys.readouterr().out
    assert f"on the study micro, {split}" in told and "held against the student in PyTorch" in told
    report = json.loads((tmp_path / "found.json").read_text())
    rows = read_manifest(micro.runs / "clean" / "latest" / "manifest.parquet").of_split(split)
    assert report["passed"] and report["skipped"] == [] and report["n"] == len(rows) > 0
    assert report["labelled"] == len(rows) and {one["id"] for one in report["worst"]} <= set(rows["path"])


def test_the_student_is_the_one_that_the_file_was_made_from(script_at: At, micro: Micro, tmp_path: Path) -> None:
    """A newer student that lies as `latest` beside it is another one."""
    runs = tmp_path / "runs"
    shutil.copytree(micro.place / "runs", runs, symlinks=True)
    (student,) = [path for path in (runs / "micro" / "student").iterdir() if not path.is_symlink()]
    latest = student.parent / "latest"
    latest.unlink()
    shutil.copytree(student.parent.parent / "student_alone" / "latest", latest)
    script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(runs)])
    student.rename(student.parent / "gone")
    with pytest.raises(UserError, match=r"which the file was made from"):
        script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(runs)])


def test_what_is_not_there_is_told(script_at: At, micro: Micro, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no split 'predict'; it has test, train, val"):
        verify(script_at, micro, "--split", "predict")
    with pytest.raises(UserError, match=r"student\.onnx does not exist; export the student first"):
        script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(tmp_path)])
