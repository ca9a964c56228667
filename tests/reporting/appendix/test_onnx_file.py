"""The section on the ONNX file: the result of verification, and whether the int8 file is offered."""

import json
from pathlib import Path

import pytest

from decant.reporting.report import appendix_text


def export_section(study: Path, **entries: object) -> str:
    """The section on the ONNX file after these entries are written into verification.json."""
    path = study / "export" / "verification.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return appendix_text(study, study).split("## The ONNX file")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ({"1": 1204, "7": 69, "32": 0}, ": 1 (1,204 images), 7 (69) and 32 (0)."),
        ({}, ": 1, 7 and 32."),
    ],
)
def test_each_batch_size_is_shown_with_its_number_of_images(study: Path, images: dict[str, int], expected: str) -> None:
    assert expected in export_section(study, batch_sizes=[1, 7, 32], pictures_by_batch_size=images)


def test_a_single_batch_size_is_shown_in_the_singular(study: Path) -> None:
    assert ": 1 (1 image)." in export_section(study, batch_sizes=[1], pictures_by_batch_size={"1": 1})


def test_a_verification_without_counts_shows_only_the_batch_sizes(study: Path) -> None:
    assert ": 1, 7 and 32." in export_section(study)


def test_a_file_that_failed_verification_is_reported(study: Path) -> None:
    assert "**did not pass**" in export_section(study, passed=False)


@pytest.mark.parametrize(
    ("offered", "expected"), [(True, "The int8 file is offered: "), (False, "The int8 file is **not** offered: ")]
)
def test_the_int8_file_is_offered_or_not_with_the_reason_but_without_times(
    study: Path, offered: bool, expected: str
) -> None:
    int8 = {
        "offered": offered, "why": "1.93 times as fast as fp32, 0.40 points of val accuracy lost (0.5 allowed)",
        "val_accuracy": 0.7404, "val_accuracy_fp32": 0.7444, "points_lost": 0.4, "budget_points": 0.5,
        "p50_ms": 1.12, "p50_ms_fp32": 2.17, "threads": 2, "file_mb": 3.82,
    }  # fmt: skip
    (study / "export" / "int8.json").write_text(json.dumps(int8))
    section = export_section(study)
    assert f"{expected}1.93 times as fast as fp32, 0.40 points of val accuracy lost (0.5 allowed). " in section
    assert "0.740 against 0.744 in fp32; its size is 3.82 MB" in section
    assert "1.12" not in section and "2.17" not in section  # the latency section has its own times


def test_the_profile_compares_convolutions_and_all_other_operators(study: Path) -> None:
    int8 = {
        "offered": True, "why": "1.5 times as fast", "val_accuracy": 0.74, "val_accuracy_fp32": 0.74, "p50_ms": 2.0,
        "p50_ms_fp32": 3.0, "threads": 2, "file_mb": 3.8,
    }  # fmt: skip
    profiled = {"kernels_ms": 2.0, "kernels_ms_fp32": 3.456, "convolutions_ms": 1.0, "convolutions_ms_fp32": 2.5}
    (study / "export" / "int8.json").write_text(json.dumps(int8 | profiled))
    section = export_section(study)
    assert "1.00 ms in int8 against 2.50 ms in fp32 (2.5 times as fast)" in section
    assert "1.00 ms against 0.956 ms" in section
    (study / "export" / "int8.json").write_text(json.dumps(int8))
    assert "profiler" not in export_section(study)
