"""Every fit and shape of the input passes all gates, against PyTorch and against Pillow, on odd and 1 px sizes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from decant.data.preprocessing import Preprocessing
from decant.export.model_card import geometry_text
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SIZES = [(1, 1), (1, 300), (300, 1), (2, 3), (61, 97), (97, 61), (64, 96), (500, 7), (333, 500)]
FITS = [
    Preprocessing((64, 96)),
    Preprocessing(64, 1.0, "stretch"),
    Preprocessing((96, 64), 0.9, "stretch"),
    Preprocessing((64, 96), 1.0, "pad"),
]


@pytest.fixture(params=FITS, ids=str)
def student(request: pytest.FixtureRequest, make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> Checkpoint:
    """A student of this preprocessing, exported into tmp_path, as it is read from its own checkpoint."""
    made = make_checkpoint()
    card = {"architecture": "test_efficientnet"}
    save_checkpoint(tmp_path / "checkpoint", Checkpoint(made.classifier, made.classes, request.param, card))
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    assert checkpoint.preprocessing == request.param
    export_student(checkpoint, tmp_path)
    return checkpoint


def images() -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(f"{h} x {w}", rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in SIZES]


@pytest.mark.parametrize("with_torch", [True, False])
def test_all_gates_hold_on_odd_sizes(student: Checkpoint, tmp_path: Path, with_torch: bool) -> None:
    reference = TorchReference(student) if with_torch else None
    report = verify(tmp_path / "student.onnx", images(), reference, batch_sizes=(1, 3))
    assert report["passed"] and report["skipped"] == [], report["gates"]


def test_a_file_with_another_fit_than_its_student_fails(student: Checkpoint, tmp_path: Path) -> None:
    """Planted: a student that was trained with another fit than its file has."""
    other = "crop" if student.preprocessing.fit != "crop" else "stretch"
    wrong = Checkpoint(
        student.classifier, student.classes, Preprocessing(student.preprocessing.input_px, 1.0, other), student.card
    )
    report = verify(tmp_path / "student.onnx", images(), TorchReference(wrong), batch_sizes=(1,))
    assert report["gates"]["prepared"]["passed"] is False


def test_the_files_own_metadata_describe_the_fit(student: Checkpoint, tmp_path: Path) -> None:
    steps = json.loads(OnnxClassifier(tmp_path / "student.onnx").metadata["preprocessing"])
    assert Preprocessing.from_dict(steps) == student.preprocessing
    described = geometry_text(steps)
    assert {"crop": "crops", "stretch": "stretches", "pad": "pads"}[student.preprocessing.fit] in described
    assert "64x96" in described or "96x64" in described or student.preprocessing.input_px == 64
