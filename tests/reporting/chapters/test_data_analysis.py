"""What the report says about the data."""

import json
from pathlib import Path

import pytest

from decant.reporting.report import report_text

COUNTS = {"labels": 1288, "confident_joint": 0.378, "suspects": 393, "suggested": 157}


@pytest.mark.parametrize(("low", "doubted"), [(0.122, True), (0.05, False)])
def test_estimates_of_label_noise_that_contradict_each_other_are_called_uncertain(
    study: Path, low: float, doubted: bool
) -> None:
    metrics = study / "clean" / "metrics.json"
    counts = json.loads(metrics.read_text(encoding="utf-8"))
    joint = {"rate": 0.028, "low": 0.01, "high": 0.052, "n": 1288}
    noise = {"rate": 0.122, "from_joint": joint, "from_duplicates": {"rate": 0.183, "low": low, "high": 0.259, "n": 79}}
    counts["label_noise"] = {"train": {**COUNTS, **noise}}
    metrics.write_text(json.dumps(counts), encoding="utf-8")
    text = report_text(study, study)
    assert f"from duplicates 0.183 ({low:.3f}–0.259)" in text
    assert ("These intervals do not overlap, so the share is uncertain." in text) == doubted
