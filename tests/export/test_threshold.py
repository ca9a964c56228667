"""The thresholds that a program reads from an exported file."""

import json
from pathlib import Path

import numpy as np
import pytest

from decant.export.metadata import add_metadata
from decant.export.model_card import acceptance_text
from decant.export.runtime import BrokenFile, OnnxClassifier

LOGITS = np.zeros(2, np.float32)
EVIDENCE = {
    "threshold": 0.81, "log_sum_threshold": 4.5, "accept_precision": 0.95, "shown": True, "n": 200, "accepted": 150,
    "correct": 149, "share_accepted": 0.75, "precision": 149 / 150, "precision_low": 0.969,
}  # fmt: skip


def test_a_prediction_is_accepted_from_the_threshold_on(folder: Path) -> None:
    add_metadata(folder / "student.onnx", {"accept": json.dumps({"threshold": 0.75})})
    classifier = OnnxClassifier(folder / "student.onnx")
    top = (0.74, 0.75, 0.76)
    assert [classifier.accepts(np.array([p, 1 - p], np.float32), LOGITS) for p in top] == [False, True, True]


def test_a_prediction_needs_the_log_sum_too(folder: Path) -> None:
    add_metadata(folder / "student.onnx", {"accept": json.dumps({"threshold": 0.5, "log_sum_threshold": 3.0})})
    classifier = OnnxClassifier(folder / "student.onnx")
    logits = (np.log([12.0, 8.0]), np.log([13.0, 8.0]))  # e³ is 20.09
    assert [classifier.accepts(np.array([0.6, 0.4]), pair) for pair in logits] == [False, True]


def test_a_file_without_a_threshold_neither_accepts_nor_refuses(folder: Path) -> None:
    classifier = OnnxClassifier(folder / "student.onnx")
    assert classifier.thresholds is None and classifier.accepts(np.array([1.0, 0.0]), LOGITS) is None


@pytest.mark.parametrize(
    "damaged",
    ["", "[]", "{}", '{"threshold": null}', '{"threshold": "x"}', "[" * 9999]
    + ['{"threshold": 0.5, "log_sum_threshold": ' + damaged + "}" for damaged in ('"x"', "null", "NaN")],
)
def test_a_damaged_threshold_is_refused(folder: Path, damaged: str) -> None:
    add_metadata(folder / "student.onnx", {"accept": damaged})
    with pytest.raises(BrokenFile, match="threshold"):
        OnnxClassifier(folder / "student.onnx")


def test_the_card_has_the_evidence_of_val() -> None:
    text = acceptance_text(EVIDENCE)
    assert (
        "at least 0.810000" in text
        and "at least 4.500" in text
        and "149 of 150" in text
        and "99.3 %" in text
        and "96.9 %" in text
    )
    assert "75.0 % of 200 images" in text and "does not show" not in text


def test_the_card_states_what_val_does_not_show() -> None:
    assert "does not show" in acceptance_text(EVIDENCE | {"shown": False})
    nothing = {"threshold": 2.0, "accepted": 0, "correct": 0, "precision": None, "precision_low": None, "shown": False}
    assert "No prediction is accepted" in acceptance_text(EVIDENCE | nothing)
