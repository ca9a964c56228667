"""Reasons in the report, from study.json or, for older results in the checkout, from the study's file."""

import json
from pathlib import Path

from decant.reporting.reasons import shared_reasons, with_reasons
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


def test_older_results_take_the_reasons_of_the_checkout_for_values_that_are_the_same(repository: Path) -> None:
    folder = repository / "results" / "demo"
    study = json.loads((folder / "study.json").read_text())
    for section in (study, study["clean"], *study["teachers"].values(), study["student"]):
        section.pop("why", None)
    study["teachers"]["lite1"]["epochs"] += 1
    reasons = with_reasons(study, folder)["teachers"]
    assert "learning_rate" in reasons["lite1"]["why"]
    assert "input_px, epochs" in reasons["lite0"]["why"] and "input_px, epochs" not in reasons["lite1"]["why"]


def test_results_elsewhere_have_no_reasons_but_their_own(study: Path) -> None:
    settings = json.loads((study / "study.json").read_text())
    assert with_reasons(settings, study) == settings
