"""A study's report: its sections, numbers, figures and links, and when it is stale."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from decant.errors import UserError
from decant.evaluation.tables import short
from decant.reporting.appendix.data import absent_classes
from decant.reporting.figures import render_figures
from decant.reporting.report import APPENDIX, appendix_text, report_text, stale_parts, write_report

CHAPTERS = [
    "Abstract",
    "Data Analysis and Cleaning",
    "Data Preprocessing",
    "Model Architecture",
    "Training and Experimentation",
    "Results and Key Findings",
    "Future Work",
]
SECTIONS = [
    "The task and the data",
    "Cleaning",
    "Teachers",
    "Ensemble",
    "Distillation and student",
    "The ONNX file",
    "Benchmarks: precision",
    "Benchmarks: latency",
    "Limits",
    "Provenance",
]


def rows_of(study: Path, table: str) -> list[dict[str, str]]:
    with (study / "benchmarks" / table / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def headings(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, flags=re.MULTILINE)


def test_a_full_study_has_every_section_in_order(study: Path) -> None:
    assert report_text(study, study).startswith("# Toy vehicles\n")
    assert headings(report_text(study, study)) == CHAPTERS
    assert headings(appendix_text(study, study)) == SECTIONS


def test_issues_are_counted_per_issue_and_actions_per_image(study: Path) -> None:
    section = appendix_text(study, study).split("## Cleaning")[1].split("\n## ")[0]
    assert "| issue | issues found |" in section and "| action | images |" in section


def test_commits_are_named_with_the_stages_that_they_built(study: Path) -> None:
    built_by = {
        "abc": ["clean", "teachers/lite0", "teachers/lite2", "benchmarks/precision"],
        "def+": ["export", "benchmarks/latency"],
    }
    provenance = json.loads((study / "provenance.json").read_text())
    (study / "provenance.json").write_text(json.dumps(provenance | {"stages_built_by": built_by}))
    lines = appendix_text(study, study).split("## Provenance")[1].splitlines()
    assert "- Commit at publishing: `abc1234`" in lines
    assert (
        "- Commits that built the stages: `abc` (clean, teachers, benchmarks/precision), "
        "`def+` (export, benchmarks/latency; uncommitted changes)" in lines
    )


def test_the_total_time_is_shown_with_the_slowest_stages(study: Path) -> None:
    seconds = {
        "clean": 30.0,
        "teachers/lite0": 600.0,
        "teachers/lite2": 1200.0,
        "pixels": 3.0,
        "student": 90,
        "export": 6,
    }
    provenance = json.loads((study / "provenance.json").read_text())
    (study / "provenance.json").write_text(json.dumps(provenance | {"seconds": seconds}))
    (line,) = [line for line in appendix_text(study, study).splitlines() if line.startswith("- Minutes: 32 ")]
    assert line.endswith(" teachers/lite2 20.0, teachers/lite0 10.0, student 1.5, clean 0.5, export 0.1")


def test_the_latency_table_has_the_rows_of_the_csv_at_the_quoted_setting(study: Path) -> None:
    left_out = ("kind", "batch_size", "threads", "calls", "processes", "p50_low_ms", "p50_high_ms")
    section = appendix_text(study, study).split("## Benchmarks: latency")[1].split("\n## ")[0]
    table = section.partition("Images per second")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    expected = [
        "| " + " | ".join(row[name] for name in row if name not in left_out) + " |"
        for row in rows_of(study, "latency")
        if row["batch_size"] == "1"
    ]
    assert lines == expected
    assert "Zen 4 with 2 cores" in section and "400 × 300 pixels" in section
    assert "The ensemble takes 6.4 times as long" in section  # (6 + 14.4) ms against 3.2 ms


@pytest.mark.parametrize("text_of", [report_text, appendix_text])
def test_every_decimal_of_the_report_comes_from_a_file(study: Path, text_of: Callable[[Path, Path], str]) -> None:
    text = text_of(study, study)
    known = set()
    for path in study.rglob("*"):
        if path.suffix in (".csv", ".json"):
            for decimal in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", path.read_text(encoding="utf-8")):
                known |= {decimal.lstrip("-"), short(decimal).lstrip("-"), short(decimal, 4).lstrip("-")}
                known.add(f"{float(decimal):.1e}".lstrip("-"))
    derived = set(re.findall(r"(\d+\.\d) (?:times|points)", text))  # ratio of two cells, width of an interval
    numbers = set(re.findall(r"\d+\.\d+(?:e-?\d+)?", text)) - derived
    assert numbers and numbers <= known, sorted(numbers - known)


@pytest.mark.parametrize(
    ("missing", "section"),
    [
        ("data", "The task and the data"),
        ("clean", "Cleaning"),
        ("ensemble", "Ensemble"),
        ("export", "The ONNX file"),
        ("benchmarks/latency", "Benchmarks: latency"),
        ("provenance.json", "Provenance"),
    ],
)
def test_a_section_without_its_files_is_left_out(study: Path, missing: str, section: str) -> None:
    path = study / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = appendix_text(study, study)
    assert headings(text) == [name for name in SECTIONS if name != section]
    text += report_text(study, study)
    assert "None" not in text and "nan" not in text.lower().replace("provenance", "")


def test_the_report_of_a_study_without_files_is_only_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert report_text(tmp_path / "empty", tmp_path) == "# empty\n"


def test_a_missing_or_damaged_study_is_a_user_error(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run it first"):
        write_report(tmp_path / "none", tmp_path / "REPORT.md")
    (study / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json: not JSON"):
        write_report(study, tmp_path / "REPORT.md")


def test_an_incomplete_list_of_issues_gives_the_total(study: Path) -> None:
    counts = study / "clean" / "metrics.json"
    counts.write_text(json.dumps({"issues": {"label": 1}, "kept": 9}))
    listed = "All issues with their scores and actions: [clean/issues.csv](clean/issues.csv)."
    assert listed in appendix_text(study, study)
    counts.write_text(json.dumps({"issues": {"label": 2058, "odd": 3}}))
    assert "1 of 2,061 issues" in appendix_text(study, study)


def test_figures_are_in_the_report_once_they_are_drawn(study: Path) -> None:
    assert "![" not in report_text(study, study) + appendix_text(study, study)
    written = render_figures(study)
    assert "![" in report_text(study, study)
    text = appendix_text(study, study)
    linked = {study / path for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)}
    assert linked == set(written)
    names = [path.relative_to(study).as_posix() for path in written]
    assert names == [
        "data/classes.png",
        "teachers/lite2.png",
        "student/student.png",
        "benchmarks/precision/confusion_student_onnx.png",
        "benchmarks/precision/reliability.png",
        "benchmarks/precision/accuracy.png",
        "benchmarks/latency/pareto.png",
    ]


def test_links_are_relative_to_the_folder_of_the_report(study: Path) -> None:
    render_figures(study)
    root = study.parent.parent
    (root / APPENDIX).touch()
    for path in re.findall(r"\]\(([^)]+)\)", report_text(study, root) + appendix_text(study, root)):
        assert (root / path).exists(), path


def test_a_report_is_stale_if_its_numbers_or_its_text_changed(study: Path) -> None:
    out = study / "REPORT.md"
    assert stale_parts(study, out)
    write_report(study, out)
    assert not stale_parts(study, out)
    write_report(study, out)
    assert not stale_parts(study, out)
    table = study / "benchmarks" / "precision" / "metrics.csv"
    original = table.read_text(encoding="utf-8")
    table.write_text(
        original.replace("student_alone,student_alone,test,150,0.", "student_alone,student_alone,test,150,1.")
    )
    assert stale_parts(study, out)
    table.write_text(original, encoding="utf-8")
    out.write_text(out.read_text(encoding="utf-8").replace("0.", "1.", 1), encoding="utf-8")
    assert stale_parts(study, out)


def test_a_study_without_a_labelled_test_split_is_named_as_such(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "metrics.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",test,", ",predict,"), encoding="utf-8")
    text = report_text(study, study)
    assert "on 150 images of predict" in text
    assert "no labelled test split" in text


def test_training_on_the_images_to_predict_is_reported(study: Path) -> None:
    sentence = "soft labels of the images to predict"
    assert sentence not in report_text(study, study)
    settings = json.loads((study / "study.json").read_text())
    settings["soft_labels"]["transductive"] = True
    (study / "study.json").write_text(json.dumps(settings))
    assert sentence in report_text(study, study)
    (study / "study.json").write_text(json.dumps({**settings, "final": "refit"}))
    assert "The refitted student, the submissions' model, was also trained" in report_text(study, study)


def test_submissions_of_models_whose_accuracy_cannot_be_measured_are_reported(study: Path) -> None:
    sentence = "refitted models, whose accuracy cannot be measured"
    assert sentence not in report_text(study, study)
    settings = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**settings, "final": "refit"}))
    assert sentence in report_text(study, study)


def test_the_accuracy_of_the_soft_labels_is_reported(study: Path) -> None:
    text = appendix_text(study, study)
    assert "share of 0.667 of the stored views" in text and "mean probability of the given label is 0.567" in text
    (study / "benchmarks" / "precision" / "soft_labels.csv").unlink()
    assert "of the stored views" not in appendix_text(study, study)


def test_a_val_that_lacks_classes_is_said_with_what_rests_on_it() -> None:
    counts = [
        {"split": split, "class": name, "images": "3"} for split, name in (("train", "a"), ("train", "b"), ("val", "b"))
    ]
    [sentence] = absent_classes(counts, {"a", "b"})
    assert "val has images of 1 of 2 classes (b)" in sentence
    assert absent_classes([*counts, {"split": "val", "class": "a", "images": "1"}], {"a", "b"}) == []
