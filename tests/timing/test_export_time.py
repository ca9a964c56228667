"""The time of export and verification, and the random student that is used for it."""

from pathlib import Path

import pytest
import torch

from decant.models.checkpoint import Checkpoint
from decant.timing.export_time import EXPORT_TIME_COLUMNS, export_time_row
from decant.timing.random_student import drawn_photo, random_student


def test_a_row_has_the_times_and_the_result_of_verification(checkpoint: Checkpoint, tmp_path: Path) -> None:
    row = export_time_row(checkpoint, tmp_path, images=3)
    assert tuple(row) == EXPORT_TIME_COLUMNS
    assert (row["classes"], row["input_px"], row["images"], row["passed"]) == (5, "64", 3, True)
    assert row["total_s"] == pytest.approx(row["export_s"] + row["verify_s"])
    assert row["export_s"] > 0 and row["verify_s"] > 0
    assert (tmp_path / "student.onnx").is_file()


def test_the_random_student_is_always_the_same() -> None:
    first, second = random_student(), random_student()
    assert len(first.classes) == 10 and first.preprocessing.input_px == 128 and not first.classifier.training
    for name, value in first.classifier.state_dict().items():
        assert torch.equal(value, second.classifier.state_dict()[name]), name


def test_the_drawn_photo_has_the_size_asked_for() -> None:
    assert drawn_photo(30, 40).shape == (30, 40, 3)
