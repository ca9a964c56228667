"""The abstract: fewer than 150 words, whatever the study."""

import json
from pathlib import Path

import pytest

from decant.reporting.chapters.abstract import FEWER_WORDS_THAN, fitting
from decant.reporting.report import report_text
from decant.reporting.root_report import study_folders


def abstract_of(folder: Path) -> str:
    return report_text(folder, folder).split("## Abstract\n\n")[1].split("\n\n## ")[0]


def test_the_committed_abstracts_have_fewer_than_150_words(repository: Path) -> None:
    folders = study_folders(repository / "results")
    assert folders and all(40 < len(abstract_of(folder).split()) < 150 for folder in folders)


@pytest.mark.parametrize("words", [1, 30, 80])
def test_a_long_title_costs_sentences_and_not_the_limit(study: Path, words: int) -> None:
    settings = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**settings, "title": "word " * words}))
    (study / "clean" / "metrics.json").write_text(json.dumps({"found": 1300, "kept": 1288, "set_aside": 12}))
    abstract = abstract_of(study)
    assert len(abstract.split()) < FEWER_WORDS_THAN
    assert "The student's exported file has an accuracy of" in abstract or words == 80


def test_sentences_are_kept_while_they_fit() -> None:
    assert fitting(["one two", "three four", "five"], 5) == ["one two", "three four"]


@pytest.mark.parametrize(
    ("weight", "sentence"),
    [
        (0.31, "The teachers lite0 and lite2 were pooled to an ensemble, whose soft labels"),
        (0.0, "The ensemble is the teacher lite2 alone (lite0 got weight 0); its soft labels"),
    ],
)
def test_only_teachers_with_a_weight_are_called_pooled(study: Path, weight: float, sentence: str) -> None:
    file = study / "ensemble" / "weights.json"
    weights = json.loads(file.read_text())
    weights["teachers"]["lite0"]["weight"] = weight
    file.write_text(json.dumps(weights))
    (study / "clean" / "metrics.json").write_text(json.dumps({"found": 1300, "kept": 1288, "set_aside": 12}))
    assert sentence in abstract_of(study)
    assert ("ensemble of lite0" in report_text(study, study)) == (weight > 0)
