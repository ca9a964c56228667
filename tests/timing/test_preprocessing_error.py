"""The prepared image equals the evaluation transform's on all shapes, and planted faults are found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from decant.data.preprocessing import Preprocessing
from decant.export.student import export_student
from decant.export.verification.verify import MAX_GREY_LEVELS
from decant.models.checkpoint import Checkpoint
from decant.timing.preprocessing_error import (
    PIXELS_OF,
    PREPROCESSING_ERROR_COLUMNS,
    SHAPES,
    drawn_images,
    preprocessing_error_rows,
)

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def uncropped(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A file that does not crop, so that the network sees the borders of the image."""
    export_student(Checkpoint(checkpoint.classifier, checkpoint.classes, Preprocessing(64), {}), tmp_path)
    return tmp_path / "student.onnx"


def test_border_and_inside_are_within_a_tenth_of_a_grey_level_on_all_shapes(uncropped: Path) -> None:
    rows = preprocessing_error_rows(uncropped, images=195)
    assert [(row["pixels"], row["shape"]) for row in rows] == [(p, s) for p in PIXELS_OF for s in SHAPES]
    for row in rows:
        assert tuple(row) == PREPROCESSING_ERROR_COLUMNS and row["images"] == 20
        assert max(row["border_grey_levels"], row["inner_grey_levels"]) < 0.1 * MAX_GREY_LEVELS, row


@pytest.mark.parametrize("fault", ["count_outside", "repeat_last_pixel"])
def test_a_wrong_border_exceeds_the_limit(
    uncropped: Path, edit: Callable[[Path, Change], None], planted: dict[str, Change], fault: str
) -> None:
    edit(uncropped, planted[fault])
    rows = {(row["pixels"], row["shape"]): row for row in preprocessing_error_rows(uncropped, images=100)}
    for pixels in PIXELS_OF:
        assert rows[pixels, "odd"]["border_grey_levels"] > MAX_GREY_LEVELS


def test_a_fault_inside_the_image_shows_inside(
    uncropped: Path, edit: Callable[[Path, Change], None], planted: dict[str, Change]
) -> None:
    edit(uncropped, planted["forget_antialiasing"])
    rows = {(row["pixels"], row["shape"]): row for row in preprocessing_error_rows(uncropped, images=30)}
    assert rows["noise", "odd"]["inner_grey_levels"] > 10 and rows["noise", "odd"]["mean_grey_levels"] > 1


def test_drawn_images_have_the_shapes_of_their_names() -> None:
    sizes = {shape: [image.shape for image in drawn_images("noise", shape, 64, 40, seed=1)] for shape in SHAPES}
    assert all(max(shape[:2]) <= 8 for shape in sizes["tiny"])
    assert all(width >= 4 * height for height, width, _ in sizes["wide"])
    assert all(height >= 4 * width for height, width, _ in sizes["tall"])
    assert all(min(abs(height - 64), abs(width - 64)) <= 1 for height, width, _ in sizes["as_input"])
    assert (64, 64, 3) in sizes["as_input"]
    assert all(height % 2 and width % 2 for height, width, _ in sizes["odd"])


def test_the_same_seed_gives_the_same_images() -> None:
    for pixels in PIXELS_OF:
        first, second = (list(drawn_images(pixels, "odd", 64, 3, seed=4)) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert first[0].shape != first[1].shape
