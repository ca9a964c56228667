"""`export_onnx.py --target` writes each folder to the given place and changes no other files."""

from pathlib import Path
from typing import Any

import pytest
import timm

from decant.errors import UserError
from decant.stages.support import export_targets as targets

Micro = Any
EXPORT = "distill/export_onnx.py"


def test_without_a_target_nothing_but_the_export_is_made(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    before = micro.files()
    micro.run(path=EXPORT)
    assert capsys.readouterr().out.startswith("ONNX file: ")
    assert micro.files() == before


def test_several_targets_lie_in_folders_of_their_own(
    micro: Micro, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for target in ("onnx", "timm", "transformersjs", "triton") for word in ("--target", target)]
    micro.run(*words, "--out", str(tmp_path), path=EXPORT)
    assert f"triton: {tmp_path / 'triton' / 'micro'}" in capsys.readouterr().out
    for path in (
        "onnx/student.onnx",
        "onnx/example.py",
        "timm/model.safetensors",
        "transformersjs/onnx/model.onnx",
        "triton/micro/config.pbtxt",
    ):
        assert (tmp_path / path).is_file(), path
    assert timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).num_classes == 3


def test_the_target_onnx_holds_the_exported_files_byte_for_byte(
    micro: Micro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "is_offered", lambda made: True)  # which else the clock decides
    micro.run("--target", "onnx", "--out", str(tmp_path), path=EXPORT)
    for stage, name in (
        ("export", "student.onnx"),
        ("export", "student_bare.onnx"),
        ("export", "classes.txt"),
        ("export", "preprocessing.json"),
        ("export", "accept.json"),
        ("export", "example.py"),
        ("export", "example.mjs"),
        ("export", "MODEL_CARD.md"),
        ("int8", "student_int8.onnx"),
        ("int8", "student_int8_bare.onnx"),
    ):
        assert (tmp_path / name).read_bytes() == (micro.runs / stage / "latest" / name).read_bytes(), name
    card = (tmp_path / "MODEL_CARD_int8.md").read_bytes()
    assert card == (micro.runs / "int8" / "latest" / "MODEL_CARD.md").read_bytes()


def test_the_default_place_is_below_the_run_and_may_be_written_again(micro: Micro) -> None:
    for _ in range(2):
        micro.run("--target", "timm", path=EXPORT)
    assert (micro.runs / "targets" / "timm" / "config.json").is_file()


def test_a_foreign_folder_ends_in_an_error_that_names_it(micro: Micro, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=f"{tmp_path} contains files that were not written here"):
        micro.run("--target", "transformersjs", "--out", str(tmp_path), path=EXPORT)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
