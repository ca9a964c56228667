"""The report shows the input geometry that was decided, its reason, and the sizes that follow from it."""

import json
from pathlib import Path

from decant.reporting.report import appendix_text

GEOMETRY = {
    "fit": "stretch",
    "aspect": 1.85,
    "description": "stretch (the whole image), inputs 1.85 times as wide as high",
    "why": "probes preferred it",
    "input_px": {"lite0": "64x128", "lite2": "96x176", "student": "80x144"},
}


def test_the_decided_geometry_its_reason_and_sizes_are_in_the_report(study: Path) -> None:
    (study / "geometry.json").write_text(json.dumps(GEOMETRY))
    text = appendix_text(study, study)
    data = text.split("## The task and the data")[1].split("\n## ")[0]
    assert str(GEOMETRY["description"]) in data and "probes preferred it" in data
    assert "input of 80x144 px" in text
    teachers = text.split("## Teachers")[1].split("\n## ")[0]
    assert "| 64x128 |" in teachers and "| 96x176 |" in teachers


def test_a_study_of_an_older_version_shows_the_sizes_that_it_asked_for(study: Path) -> None:
    asked = json.loads((study / "study.json").read_text())["student"]["input_px"]
    text = appendix_text(study, study)
    assert f"input of {asked} px" in text and "Input of all networks" not in text
