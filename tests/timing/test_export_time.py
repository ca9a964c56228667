"""Export and verification, timed; and the student that they are timed on."""

from pathlib import Path

import pytest
import torch

from decant.models.checkpoint import Checkpoint
from decant.timing.export_time import EXPORT_TIME_COLUMNS, export_time_row
from decant.timing.random_student import drawn_photo, random_student


def test_a_row_says_how_long_it_took_and_whether_the_file_passed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    row = export_time_row(checkpoint, tmp_path, pictures=3)
    assert tuple(row) == EXPORT_TIME_COLUMNS
    assert (row["classes"], row["input_px"], row["pictures"], row["passed"]) == (5, 64, 3, True)
    assert row["total_s"] == pytest.approx(row["export_s"] + row["verify_s"])
    assert row["export_s"] > 0 and row["verify_s"] > 0
    assert (tmp_path / "student.onnx").is_file()


def test_the_specimen_is_always_the_same_student() -> None:
    one, other = random_student(), random_student()
    assert len(one.classes) == 10 and one.preprocessing.input_px == 128 and not one.classifier.training
    for name, value in one.classifier.state_dict().items():
        assert torch.equal(value, other.classifier.state_dict()[name]), name


def test_the_drawn_photo_has_the_size_asked_for() -> None:
    assert drawn_photo(30, 40).shape == (30, 40, 3)
