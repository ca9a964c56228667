"""Every number of a report is a number of a file; what has no file leaves no trace."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from decant.errors import UserError
from decant.evaluation.tables import short
from decant.reporting.figures import render_figures
from decant.reporting.report import is_stale, report_text, write_report

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


def row_of(study: Path, model: str, table: str = "precision", **other: str) -> dict[str, str]:
    found = [r for r in rows_of(study, table) if {"model": model, **other}.items() <= r.items()]
    assert len(found) == 1
    return found[0]


def headings(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, flags=re.MULTILINE)


def test_a_full_study_has_every_section_in_order(study: Path) -> None:
    text = report_text(study, study)
    assert text.startswith("# Toy vehicles\n")
    assert headings(text) == SECTIONS


@pytest.mark.parametrize("model", ["lite0", "lite2", "ensemble", "student_alone", "student", "student_onnx"])
def test_the_precision_table_has_the_numbers_of_the_csv(study: Path, model: str) -> None:
    section = report_text(study, study).split("## Benchmarks: precision")[1]
    row = row_of(study, model, split="test")
    (line,) = [line for line in section.splitlines() if line.startswith(f"| {model} | test |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2] == row["n"] == "150"
    assert cells[5:] == [
        short(row[c]) for c in ("recall_macro", "f1_macro", "map_macro", "nll", "ece", "agreement_with_ensemble")
    ]


def precision_text(study: Path) -> str:
    return report_text(study, study).split("## Benchmarks: precision")[1].split("\n## ")[0]


def change_study(study: Path, **changes: object) -> None:
    asked = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(asked | changes))


def test_accuracy_with_and_without_duplicates_stands_beside_their_number(study: Path) -> None:
    section = precision_text(study)
    assert (
        "Of 150 images of test, 12 had a near duplicate in train (images of train that cleaning set aside: 9; "
        "that were trained on: 5)." in section
    )
    assert "| accuracy | all (150) | with a duplicate (12) | without (138) |" in section
    with (study / "benchmarks" / "precision" / "near_duplicates.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    for model in ("lite2", "ensemble", "student_onnx"):
        cells = [
            f"{short(row['accuracy'])} ({short(row['accuracy_low'])}–{short(row['accuracy_high'])})"
            if int(row["n"]) > 20
            else short(row["accuracy"])  # an interval of 12 images says little
            for row in rows
            if row["model"] == model
        ]
        assert len(cells) == 3 and "(" not in cells[1]
        assert f"| {model} | {' | '.join(cells)} |" in section


def test_that_there_are_no_duplicates_is_one_sentence(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "near_duplicates.csv"
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if ",test," not in line]
    table.write_text("\n".join(lines).replace(",val,", ",test,") + "\n", encoding="utf-8")  # val has none
    assert "\n\nNo image of test has a near duplicate in train." in precision_text(study)
    assert "with a duplicate (" not in precision_text(study)
    change_study(study, clean={"policy": "report", "near_duplicates": False})
    assert "No image of test has an exact duplicate in train." in precision_text(study)


def test_results_from_before_duplicates_were_counted_have_a_report(study: Path) -> None:
    (study / "benchmarks" / "precision" / "near_duplicates.csv").unlink()
    assert "duplicate" not in precision_text(study) and "student_onnx on test, by class:" in precision_text(study)


def test_the_report_says_whose_probabilities_are_calibrated(study: Path) -> None:
    assert "the probabilities of ensemble and student_onnx are calibrated" in precision_text(study)
    assert "does not change the predictions of a single network" in precision_text(study)
    assert "The ensemble's temperatures are applied to its teachers before pooling" in precision_text(study)
    table = study / "benchmarks" / "precision" / "metrics.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    raw = [line for line in lines if not line.startswith(("ensemble,", "student_onnx,"))]
    table.write_text("\n".join(raw) + "\n", encoding="utf-8")
    assert "temperature" not in precision_text(study)


def test_without_an_ensemble_nothing_is_said_of_its_temperatures(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "metrics.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("ensemble,")) + "\n", encoding="utf-8")
    assert "of student_onnx are calibrated" in precision_text(study) and "pooling" not in precision_text(study)


def test_the_report_says_who_is_not_calibrated_in_the_picture_of_reliability(study: Path) -> None:
    said = "shows student_alone uncalibrated"
    assert said not in precision_text(study)  # there is no picture yet
    picture = study / "benchmarks" / "precision" / "reliability.png"
    picture.touch()
    assert said in precision_text(study)
    table = study / "benchmarks" / "precision" / "reliability.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(line for line in lines if "student_alone" not in line) + "\n", encoding="utf-8")
    assert said not in precision_text(study)


def test_issues_are_counted_in_findings_and_actions_in_images(study: Path) -> None:
    section = report_text(study, study).split("## Cleaning")[1].split("\n## ")[0]
    assert "| issue | issues found |" in section and "| action | images |" in section


def test_the_commits_that_built_the_stages_are_named_with_them(study: Path) -> None:
    built_by = {
        "abc": ["clean", "teachers/lite0", "teachers/lite2", "benchmarks/precision"],
        "def+": ["export", "benchmarks/latency"],
    }
    found = json.loads((study / "provenance.json").read_text())
    (study / "provenance.json").write_text(json.dumps(found | {"stages_built_by": built_by}))
    lines = report_text(study, study).split("## Provenance")[1].splitlines()
    assert "- Published at: `abc1234`" in lines
    assert (
        "- Stages built by: `abc` (clean, teachers, benchmarks/precision), "
        "`def+` (export, benchmarks/latency; changed checkout)" in lines
    )


def test_the_minutes_of_the_chain_are_told_with_its_slowest_stages(study: Path) -> None:
    seconds = {
        "clean": 30.0,
        "teachers/lite0": 600.0,
        "teachers/lite2": 1200.0,
        "pixels": 3.0,
        "student": 90,
        "export": 6,
    }
    found = json.loads((study / "provenance.json").read_text())
    (study / "provenance.json").write_text(json.dumps(found | {"seconds": seconds}))
    told = "- Minutes: 32 in all stages (teachers/lite2 20.0, teachers/lite0 10.0, student 1.5, clean 0.5, export 0.1)"
    assert told in report_text(study, study).splitlines()


@pytest.mark.parametrize(("metric", "column", "name"), [("precision_macro", 6, "precision"), ("accuracy", 8, "F1")])
def test_of_many_classes_those_are_shown_that_are_worst_by_what_counts(
    study: Path, metric: str, column: int, name: str
) -> None:
    change_study(study, metric=metric)
    table = study / "benchmarks" / "precision" / "per_class.csv"
    header = table.read_text(encoding="utf-8").splitlines()[0]
    rows = []
    for number in range(40):
        precision, f1 = 0.5 + number / 100, 0.9 - number / 100  # worst by one is best by the other
        rows.append(f"student_onnx,student_onnx,test,c{number},30,{number},{precision:.4f},0.8,{f1:.4f},0.9")
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    section = precision_text(study)
    assert f"student_onnx on test, the 25 classes of 40 with the lowest {name}:" in section
    worst = min(rows, key=lambda row: float(row.split(",")[column])).split(",")
    shown = [line for line in section.splitlines() if re.match(r"\| c\d", line)]
    cells = [worst[3], "30", worst[5], *(short(text) for text in worst[6:])]
    assert len(shown) == 25 and shown[0] == f"| {' | '.join(cells)} |"


def test_the_latency_table_is_the_csv_at_the_quoted_setting(study: Path) -> None:
    left_out = ("kind", "batch_size", "threads", "calls", "processes", "p50_low_ms", "p50_high_ms")
    section = report_text(study, study).split("## Benchmarks: latency")[1].split("\n## ")[0]
    table = section.partition("Images per second")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    expected = [
        "| " + " | ".join(row[name] for name in row if name not in left_out) + " |"
        for row in rows_of(study, "latency")
        if row["batch_size"] == "1"
    ]
    assert lines == expected
    assert "Measured on Zen 4, 2 cores, with images of 400 × 300 pixels" in section
    assert "The ensemble takes 6.4 times as long" in section  # (6 + 14.4) ms against 3.2 ms


def test_every_decimal_of_the_report_comes_from_a_file(study: Path) -> None:
    text = report_text(study, study)
    known = set()
    for path in study.rglob("*"):
        if path.suffix in (".csv", ".json"):
            for found in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", path.read_text(encoding="utf-8")):
                known |= {found.lstrip("-"), short(found).lstrip("-"), short(found, 4).lstrip("-")}
                known.add(f"{float(found):.1e}".lstrip("-"))
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
def test_a_section_without_its_files_leaves_no_trace(study: Path, missing: str, section: str) -> None:
    path = study / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = report_text(study, study)
    assert headings(text) == [name for name in SECTIONS if name != section]
    assert "None" not in text and "nan" not in text.lower().replace("provenance", "")


def test_a_study_without_any_file_is_only_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert report_text(tmp_path / "empty", tmp_path) == "# empty\n"


def test_a_missing_or_damaged_study_is_the_users_to_mend(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run it first"):
        write_report(tmp_path / "none", tmp_path / "REPORT.md")
    (study / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json: not JSON"):
        write_report(study, tmp_path / "REPORT.md")


def exported_section(study: Path, **found: object) -> str:
    """The section on the ONNX file, with these entries in its verification."""
    path = study / "export" / "verification.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | found))
    return report_text(study, study).split("## The ONNX file")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({"1": 1204, "7": 69, "32": 0}, "Checked at the batch sizes 1 (1,204 images), 7 (69) and 32 (0)."),
        ({}, "Checked at the batch sizes 1, 7, 32."),
    ],
)
def test_of_each_batch_size_is_said_how_many_images_it_was_checked_with(
    study: Path, images: dict[str, int], said: str
) -> None:
    assert said in exported_section(study, batch_sizes=[1, 7, 32], pictures_by_batch_size=images)


def test_a_single_batch_size_is_said_in_the_singular(study: Path) -> None:
    said = exported_section(study, batch_sizes=[1], pictures_by_batch_size={"1": 1})
    assert "Checked at the batch size 1 (1 image)." in said


def test_a_verification_from_before_images_were_counted_has_its_batch_sizes_alone(study: Path) -> None:
    assert "Checked at the batch sizes 1, 7, 32." in exported_section(study)


def test_a_file_that_failed_verification_is_said_aloud(study: Path) -> None:
    assert "**The file did not pass.**" in exported_section(study, passed=False)


@pytest.mark.parametrize(
    ("offered", "said"), [(True, "The int8 file is offered: "), (False, "The int8 file is **not** offered: ")]
)
def test_the_int8_file_is_offered_or_not_with_the_reason_and_without_times(
    study: Path, offered: bool, said: str
) -> None:
    found = {
        "offered": offered, "why": "1.93 times as fast as fp32, 0.40 points of val accuracy lost (0.5 allowed)",
        "val_accuracy": 0.7404, "val_accuracy_fp32": 0.7444, "points_lost": 0.4, "budget_points": 0.5,
        "p50_ms": 1.12, "p50_ms_fp32": 2.17, "threads": 2, "file_mb": 3.82,
    }  # fmt: skip
    (study / "export" / "int8.json").write_text(json.dumps(found))
    section = report_text(study, study).split("## The ONNX file")[1].split("\n## ")[0]
    assert f"{said}1.93 times as fast as fp32, 0.40 points of val accuracy lost (0.5 allowed). " in section
    assert "On val it has an accuracy of 0.740 and fp32 0.744; it has 3.82 MB." in section
    assert "1.12" not in section and "2.17" not in section  # the latency section has times of its own


def test_the_profile_of_int8_says_where_the_time_goes_on(study: Path) -> None:
    found = {
        "offered": True, "why": "1.5 times as fast", "val_accuracy": 0.74, "val_accuracy_fp32": 0.74, "p50_ms": 2.0,
        "p50_ms_fp32": 3.0, "threads": 2, "file_mb": 3.8,
    }  # fmt: skip
    profiled = {"kernels_ms": 2.0, "kernels_ms_fp32": 3.456, "convolutions_ms": 1.0, "convolutions_ms_fp32": 2.5}
    (study / "export" / "int8.json").write_text(json.dumps(found | profiled))
    assert (
        "the convolutions take 2.50 ms in fp32 and 1.00 ms in int8 (2.5 times as fast) and all other operators, "
        "preprocessing included, 0.956 ms and 1.00 ms"
    ) in report_text(study, study)
    (study / "export" / "int8.json").write_text(json.dumps(found))
    assert "profiler" not in report_text(study, study)


def test_a_list_of_findings_that_was_cut_says_of_how_many(study: Path) -> None:
    counts = study / "clean" / "metrics.json"
    counts.write_text(json.dumps({"issues": {"label": 1}, "kept": 9}))
    assert "Every issue with its score and what was done: [clean/issues.csv](clean/issues.csv)." in report_text(
        study, study
    )
    counts.write_text(json.dumps({"issues": {"label": 2058, "odd": 3}}))
    assert "The highest-scoring 1 of 2,061 issues, chosen per type, each with" in report_text(study, study)


def test_pictures_are_in_the_report_once_they_are_drawn(study: Path) -> None:
    assert "![" not in report_text(study, study)
    written = render_figures(study)
    text = report_text(study, study)
    linked = {study / found for found in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)}
    assert linked == set(written)
    names = [path.relative_to(study).as_posix() for path in written]
    assert names == [
        "data/classes.png",
        "teachers/lite2.png",
        "benchmarks/precision/confusion_student_onnx.png",
        "benchmarks/precision/reliability.png",
        "benchmarks/precision/accuracy.png",
        "benchmarks/latency/pareto.png",
    ]


def test_links_follow_the_place_of_the_report(study: Path) -> None:
    render_figures(study)
    root = study.parent.parent
    for found in re.findall(r"\]\(([^)]+)\)", report_text(study, root)):
        assert (root / found).exists(), found


def test_a_report_is_stale_exactly_when_its_numbers_or_its_text_changed(study: Path) -> None:
    out = study / "REPORT.md"
    assert is_stale(study, out)
    write_report(study, out)
    assert not is_stale(study, out)
    write_report(study, out)
    assert not is_stale(study, out)
    table = study / "benchmarks" / "precision" / "metrics.csv"
    original = table.read_text(encoding="utf-8")
    table.write_text(
        original.replace("student_alone,student_alone,test,150,0.", "student_alone,student_alone,test,150,1.")
    )
    assert is_stale(study, out)
    table.write_text(original, encoding="utf-8")
    out.write_text(out.read_text(encoding="utf-8").replace("0.", "1.", 1), encoding="utf-8")
    assert is_stale(study, out)


def test_where_only_photos_to_predict_are_labelled_the_report_says_so(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "metrics.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",test,", ",predict,"), encoding="utf-8")
    text = report_text(study, study)
    assert "On the 150 images of the predict split" in text
    assert "There is no labelled test split" in text


def test_training_on_the_photos_to_predict_is_said(study: Path) -> None:
    asked = json.loads((study / "study.json").read_text())
    assert "took part" not in report_text(study, study)
    asked["soft_labels"]["transductive"] = True
    (study / "study.json").write_text(json.dumps(asked))
    assert "the student was trained on them" in report_text(study, study)


def test_the_report_says_how_right_the_soft_labels_are(study: Path) -> None:
    said = (
        "agree with the given label for a share of 0.667 of the stored views of train, and give it a mean "
        "probability of 0.567"
    )
    assert said in report_text(study, study)
    (study / "benchmarks" / "precision" / "soft_labels.csv").unlink()
    assert "The soft labels name" not in report_text(study, study)
