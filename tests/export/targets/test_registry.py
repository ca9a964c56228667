"""The registry of targets: one signature for all writers, and heavy imports only where they are needed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from decant.export.targets import TARGETS, ExportedStudent
from decant.models.checkpoint import Checkpoint, save_checkpoint

WITHOUT_TORCH = """
import sys
for absent in ("torch", "timm"):
    sys.modules[absent] = None  # so that importing it fails
from pathlib import Path
from decant.export.targets import TARGETS, ExportedStudent
from decant.export.targets.web import RUNTIME
source, out = map(Path, sys.argv[1:])
(out / "dist").mkdir(parents=True)
for name in RUNTIME:
    (out / "dist" / name).touch()
student = ExportedStudent([source / "student.onnx"], source / "no checkpoint", "toys", out / "dist")
for target in TARGETS:
    if target != "timm":
        assert any(TARGETS[target](student, out / target).iterdir()), target
"""


@pytest.fixture
def source(folder: Path) -> Path:
    """An exported folder with a model card and a threshold, as the stage export leaves it."""
    (folder / "MODEL_CARD.md").write_text("card", encoding="utf-8")
    (folder / "accept.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("target", "written", "file"),
    [
        ("onnx", ".", "student_int8.onnx"),
        ("timm", ".", "model.safetensors"),
        ("transformersjs", ".", "onnx/model.onnx"),
        ("triton", "toys", "1/model.onnx"),  # the folder is a model repository, the model has its own folder in it
    ],
)
def test_a_writer_returns_the_folder_that_it_wrote(
    source: Path, checkpoint: Checkpoint, tmp_path: Path, target: str, written: str, file: str
) -> None:
    int8 = Path(shutil.copytree(source, tmp_path / "int8"))
    for name in ("student", "student_bare"):
        (int8 / f"{name}.onnx").rename(int8 / f"{name.replace('student', 'student_int8')}.onnx")
    save_checkpoint(
        tmp_path / "checkpoint",
        Checkpoint(
            checkpoint.classifier, checkpoint.classes, checkpoint.preprocessing, {"architecture": "test_efficientnet"}
        ),
    )
    student = ExportedStudent(
        [source / "student.onnx", int8 / "student_int8.onnx"], tmp_path / "checkpoint", name="toys"
    )
    folder = TARGETS[target](student, tmp_path / "out")
    assert folder == tmp_path / "out" / written
    assert (folder / file).is_file() and (folder / "decant.json").is_file()


def test_only_the_target_timm_imports_torch_and_timm(source: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(source), str(tmp_path / "out")],
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
