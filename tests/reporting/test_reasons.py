"""Reasons in the report, from study.json."""

import json
from pathlib import Path

from decant.reporting.reasons import shared_reasons
from decant.reporting.report import report_text


def test_networks_with_the_same_reason_share_a_line() -> None:
    why = {"input_px, epochs": "few images"}
    study = {"teachers": {"a": {"why": why}, "b": {"why": why}}, "student": {"why": {"loss": "it is usual"}}}
    assert shared_reasons(study) == ["- `input_px`, `epochs` (a and b): few images", "- `loss` (student): it is usual"]
    assert shared_reasons(study, but=["epochs"]) == ["- `loss` (student): it is usual"]


def test_the_report_gives_the_reasons_of_the_study(study: Path) -> None:
    settings = json.loads((study / "study.json").read_text())
    settings["teachers"]["lite2"]["why"] = {"architecture": "deeper", "epochs": "few images"}
    settings["clean"]["why"] = {"policy": "labels are bad"}
    (study / "study.json").write_text(json.dumps(settings))
    chapters = report_text(study, study).split("\n## ")
    assert "- `architecture` (lite2): deeper" in chapters[4] and "- `epochs` (lite2): few images" in chapters[5]
    assert "labels are bad" in chapters[2]
