"""What the report says about the data."""

import json
from pathlib import Path
from typing import Any

import pytest

from decant.reporting.report import report_text

COUNTS = {"labels": 1288, "confident_joint": 0.378, "suspects": 393, "suggested": 157}


@pytest.mark.parametrize(("low", "doubted"), [(0.122, True), (0.05, False)])
def test_estimates_of_label_noise_that_contradict_each_other_are_called_uncertain(
    study: Path, low: float, doubted: bool
) -> None:
    joint = {"rate": 0.028, "low": 0.01, "high": 0.052, "n": 1288}
    noise = {"rate": 0.122, "from_joint": joint, "from_duplicates": {"rate": 0.183, "low": low, "high": 0.259, "n": 79}}
    text = text_with(study, {"train": {**COUNTS, **noise}})
    assert f"from duplicates 0.183 ({low:.3f}–0.259)" in text
    assert ("These intervals do not overlap, so the share is uncertain." in text) == doubted


def test_labels_listed_though_train_seems_free_of_noise_are_explained(study: Path) -> None:
    joint = {"rate": 0.0, "low": 0.0, "high": 0.005, "n": 1288}
    clean = {**COUNTS, "rate": 0.0, "from_joint": joint, "from_duplicates": None, "suggested": 0}
    noise = {"train": clean, "val_and_test": {**clean, "rate": 0.0123, "suggested": 12}}
    text = text_with(study, noise)
    assert "wrong labels in train is 0.000: from predictions 0.000 (0.000–0.005). In val and test it is 0.012." in text
    assert "with the highest scores, count as doubtful: 12 of val and test." in text


def test_a_small_share_of_wrong_labels_is_not_called_none(study: Path) -> None:
    noise = {**COUNTS, "rate": 0.0004, "from_joint": None, "from_duplicates": None, "suggested": 2}
    text = text_with(study, {"train": noise})
    assert "share of wrong labels in train is below 0.001." in text and "doubtful: 2 of train." in text


def test_where_no_label_is_listed_the_report_says_so(study: Path) -> None:
    noise = {**COUNTS, "rate": 0.0, "from_joint": None, "from_duplicates": None, "suggested": 0}
    assert "in train is 0.000. No label counts as doubtful." in text_with(study, {"train": noise})


def text_with(study: Path, noise: dict[str, dict[str, Any]]) -> str:
    """The report of the study with these estimates of label noise."""
    metrics = study / "clean" / "metrics.json"
    counts = json.loads(metrics.read_text(encoding="utf-8"))
    metrics.write_text(json.dumps({**counts, "label_noise": noise}), encoding="utf-8")
    return report_text(study, study)


def test_the_source_of_the_images_is_named_if_the_study_names_it(study: Path) -> None:
    assert "Source of the images" not in report_text(study, study)
    file = study / "study.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    described["data"]["attribution"] = "Photos of X, CC BY 4.0"
    file.write_text(json.dumps(described), encoding="utf-8")
    assert "Source of the images: Photos of X, CC BY 4.0." in report_text(study, study)
