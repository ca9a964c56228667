"""verify_onnx.py --study: uses the study's student and images, and builds no stage."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from decant.data.manifest import read_manifest
from decant.errors import UserError
from decant.workspace import point_latest

Micro = Any
At = Callable[[str], ModuleType]


def verify(script_at: At, micro: Micro, *words: str) -> None:
    script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(micro.place / "runs"), *words])


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_studys_images_and_student_are_found_and_nothing_is_built(
    script_at: At, micro: Micro, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    before = micro.files()
    words = [] if split == "val" else ["--split", split]
    verify(script_at, micro, "--json", str(tmp_path / "found.json"), *words)
    assert micro.files() == before
    told = capsys.readouterr().out
    assert f"on the study micro, {split}" in told and "compared with the student in PyTorch" in told
    report = json.loads((tmp_path / "found.json").read_text())
    rows = read_manifest(micro.runs / "clean" / "latest").of_split(split)
    assert report["passed"] and report["skipped"] == [] and report["n"] == len(rows) > 0
    assert report["labelled"] == len(rows) and {one["id"] for one in report["worst"]} <= set(rows["path"])


def test_the_student_is_the_one_that_the_file_was_made_from(script_at: At, micro: Micro, tmp_path: Path) -> None:
    """A newer student that lies as `latest` beside it is another one."""
    runs = tmp_path / "runs"
    shutil.copytree(micro.place / "runs", runs, symlinks=True)
    (student,) = [path for path in (runs / "store" / "shipped").iterdir() if path.is_dir()]
    point_latest(runs / "micro" / "shipped", (runs / "micro" / "student_alone" / "latest").resolve())
    script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(runs)])
    student.rename(student.parent / "gone")
    with pytest.raises(UserError, match=r"which the file was made from"):
        script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(runs)])


def verified(script_at: At, micro: Micro, place: Path, *words: str) -> dict[str, Any]:
    """What is found of the study's int8 file, whether it passes or not: `micro` has learnt too little to tell."""
    file = micro.runs / "int8" / "latest" / "student_int8.onnx"
    with contextlib.suppress(SystemExit):
        verify(script_at, micro, str(file), "--json", str(place), *words)
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def test_an_int8_file_is_held_as_in_its_stage(script_at: At, micro: Micro, tmp_path: Path) -> None:
    stored = json.loads((micro.runs / "int8" / "latest" / "verification.json").read_text())
    found = verified(script_at, micro, tmp_path / "found.json")
    assert found["reference"] == stored["reference"] == "the student in PyTorch and the fp32 file"
    for key in ("n", "batch_sizes", "precision", "labelled", "accuracy", "reference_accuracy", "skipped"):
        assert found[key] == stored[key], key
    limits = [{name: gate["limit"] for name, gate in one["gates"].items()} for one in (found, stored)]
    assert limits[0] == limits[1] and limits[0]["accuracy"] == 0.5


def test_an_int8_file_has_the_studys_budget_unless_another_is_given(
    script_at: At, micro: Micro, tmp_path: Path
) -> None:
    study = tmp_path / "micro.yaml"
    study.write_text("{extends: micro, name: micro, export: {int8_budget_points: 7}}", encoding="utf-8")
    for words, points in (((), 7), (("--budget", "0"), 0)):
        found = verified(script_at, micro, tmp_path / "found.json", "--study", str(study), *words)
        assert found["gates"]["accuracy"]["limit"] == points


def test_the_fp32_file_that_is_given_goes_before_the_studys(script_at: At, micro: Micro) -> None:
    file = str(micro.runs / "int8" / "latest" / "student_int8.onnx")
    with pytest.raises(UserError, match=r"student_int8\.onnx is int8 itself"):
        verify(script_at, micro, file, "--fp32", file)


def test_what_is_not_there_is_told(script_at: At, micro: Micro, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no split 'predict'; it has test, train, val"):
        verify(script_at, micro, "--split", "predict")
    with pytest.raises(UserError, match=r"student\.onnx does not exist; export the student first"):
        script_at("distill/verify_onnx.py").main(["--study", "micro", "--runs", str(tmp_path)])
