"""The whole chain on `micro`: what it leaves, what a second run does, and what a change runs again."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from decant.data.manifest import read_manifest
from decant.data.predictions import read_predictions
from decant.distillation.table import read_table
from decant.errors import UserError
from decant.stages import teacher as teacher_stage
from decant.timing.models import LATENCY_COLUMNS

Micro = Any

# The tables that issue 8 calls a stable contract.
PRECISION = (
    "model, kind, split, n, accuracy, precision_macro, recall_macro, f1_macro, map_macro, nll, ece, "
    "agreement_with_ensemble"
).split(", ")
INTERVALS = ["accuracy_low", "accuracy_high", "precision_macro_low", "precision_macro_high"]
LATENCY = (
    "model, kind, engine, precision, graph, input_px, batch_size, threads, cold_start_s, p50_ms, p90_ms, p99_ms, "
    "images_per_second, params_millions, gmacs, file_mb, peak_rss_mb"
).split(", ")
PROCESSES = ["calls", "processes", "p50_low_ms", "p50_high_ms"]
ISSUES = "id, path, issue, score, given_label, suggested_label, action, reason".split(", ")
KINDS = {"teacher", "ensemble", "student_alone", "student", "student_onnx", "student_onnx_int8"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_precision_table_has_the_columns_of_the_contract(micro: Micro) -> None:
    rows = rows_of(micro.results / "benchmarks" / "precision" / "metrics.csv")
    assert list(rows[0]) == PRECISION + INTERVALS
    assert {row["kind"] for row in rows} == KINDS
    assert {row["split"] for row in rows} == {"test", "val"}
    assert all(0 <= float(row[column]) <= 1 for row in rows for column in (*PRECISION[4:9], *INTERVALS))
    assert all(float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"]) for row in rows)


def test_the_latency_table_has_the_columns_of_the_contract(micro: Micro) -> None:
    rows = rows_of(micro.results / "benchmarks" / "latency" / "metrics.csv")
    assert list(rows[0]) == LATENCY + PROCESSES == list(LATENCY_COLUMNS)
    assert {row["model"] for row in rows} == {"convnext", "probe", "student_onnx", "student_onnx_int8", "ensemble"}
    assert all(0 < float(row["p50_low_ms"]) <= float(row["p50_high_ms"]) for row in rows)


def test_the_ensembles_latency_is_the_sum_of_its_teachers_fastest(micro: Micro) -> None:
    rows = rows_of(micro.results / "benchmarks" / "latency" / "metrics.csv")
    weights = json.loads((micro.results / "ensemble" / "weights.json").read_text())["teachers"]
    active_teachers = [name for name, row in weights.items() if row["weight"] > 0]
    (whole,) = [row for row in rows if row["kind"] == "ensemble"]
    assert active_teachers
    parts = [float(row["p50_ms"]) for row in rows if row["model"] in active_teachers and row["graph"] == whole["graph"]]
    assert float(whole["p50_ms"]) == pytest.approx(sum(parts), rel=0.02)


def test_the_verification_has_the_keys_of_the_contract_and_passed(micro: Micro) -> None:
    found = json.loads((micro.results / "export" / "verification.json").read_text())
    assert set(found) >= {"n", "top1_agreement", "max_abs_logit_difference", "batch_sizes", "passed"}
    assert found["passed"] is True


def test_the_issues_have_the_columns_of_the_contract(micro: Micro) -> None:
    rows = rows_of(micro.results / "clean" / "issues.csv")
    assert list(rows[0]) == ISSUES
    manifest = read_manifest(micro.runs / "clean" / "latest")
    assert {row["id"] for row in rows} <= set(manifest.rows["id"])
    assert json.loads((micro.results / "clean" / "metrics.json").read_text())


def test_the_shipped_file_lies_where_the_contract_says_with_its_classes(micro: Micro) -> None:
    latest = micro.runs / "export" / "latest"
    assert (latest / "student.onnx").is_file()
    classes = (latest / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert classes == read_manifest(micro.runs / "clean" / "latest").classes


def test_the_shipped_file_answers_as_its_row_of_the_table_says(micro: Micro) -> None:
    """Accuracy on test by ONNX Runtime and Pillow alone, from the files that lie in the data set."""
    manifest = read_manifest(micro.runs / "clean" / "latest")
    rows = manifest.of_split("test")
    stored = read_predictions(micro.runs / "export" / "latest" / "predictions", "test").aligned(list(rows["id"]))
    answers = stored.members["identity"].argmax(axis=1)
    (row,) = [
        row
        for row in rows_of(micro.results / "benchmarks" / "precision" / "metrics.csv")
        if (row["kind"], row["split"]) == ("student_onnx", "test")
    ]
    assert float(row["accuracy"]) == pytest.approx(np.mean(answers == manifest.targets(rows)), abs=1e-4)
    session = onnxruntime.InferenceSession(micro.runs / "export" / "latest" / "student.onnx")
    (data,) = micro.store.glob("toy_vehicles/toy-vehicles-*")
    for place, (_, photo) in enumerate(rows.iterrows()):
        with Image.open(data / photo["path"]) as image:
            if image.mode != "RGB" or image.getexif().get(274, 1) != 1:
                continue  # oriented and converted by `decode`, which has tests of its own
            pixels = np.asarray(image)
        (probabilities,) = session.run(["probabilities"], {"images": pixels[None]})
        np.testing.assert_allclose(probabilities[0], np.exp(stored.members["identity"][place]), atol=1e-5)


def test_a_report_with_study_provenance_and_images_is_left(micro: Micro) -> None:
    for name in ("REPORT.md", "study.json", "provenance.json", "data/classes.csv", "data/classes.png"):
        assert (micro.results / name).stat().st_size > 0, name
    assert json.loads((micro.results / "study.json").read_text())["name"] == "micro"
    assert (micro.results / "teachers" / "convnext.csv").is_file()


def test_micro_publishes_nothing(micro: Micro) -> None:
    assert not (micro.place / "results").exists()


def test_publishing_what_a_study_forbids_is_refused_before_anything_runs(tmp_path: Path, micro: Micro) -> None:
    with pytest.raises(UserError, match="publish: false"):
        replace(micro, place=tmp_path).run("--publish")
    assert list(tmp_path.iterdir()) == []


def test_publishing_copies_what_the_run_left(copied: Micro, tmp_path: Path) -> None:
    variant = tmp_path / "variant.yaml"
    variant.write_text("{extends: micro, name: micro, publish: true}")
    places = ["--runs", str(copied.place / "runs"), "--results", str(tmp_path / "results"), "--wandb", "disabled"]
    report = copied.script("benchmarks/report.py")
    report.main(["--study", str(variant), *places])
    assert not (tmp_path / "results").exists()
    report.main(["--study", str(variant), *places, "--publish"])
    left, published = copied.results, tmp_path / "results" / "micro"
    names = {str(path.relative_to(left)) for path in left.rglob("*") if path.is_file()}
    assert "REPORT.md" in names and "benchmarks/precision/metrics.csv" in names
    copies = {str(path.relative_to(published)) for path in published.rglob("*") if path.is_file()}
    assert names - {"report.html"} == copies
    assert "report.html" in names  # made from the rest at any time, so it is not published
    assert (left / "REPORT.md").read_bytes() == (published / "REPORT.md").read_bytes()


def test_nothing_half_written_is_left(micro: Micro) -> None:
    assert [str(path) for path in (micro.place / "runs").rglob("*.part")] == []
    assert [str(path) for path in micro.store.rglob("resume.safetensors")] == []


def modified(micro: Micro, path: str) -> int:
    return (micro.place / "runs" / path).stat().st_mtime_ns


def test_the_chain_counts_its_stages_and_the_time_that_is_left(
    copied: Micro, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.run("--set", "student.learning_rate=0.003")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    total = len(copied.stages())
    numbers = [int(line[1:].partition("/")[0]) for line in lines]
    assert numbers == sorted(numbers) and numbers[-1] == total
    assert all(f"/{total}] " in line and line.endswith(" left") for line in lines)
    built = {line.split("] ")[1].partition(":")[0] for line in lines}
    assert "student" in built and "teachers/convnext" not in built


def test_a_second_run_keeps_every_stage_and_changes_no_file(micro: Micro, forgetful: set[str]) -> None:
    before = micro.files()
    times = {path: modified(micro, path) for path in before if "/results/" not in path}
    stages = micro.stages()
    micro.run()
    assert micro.files() == before
    assert {path: modified(micro, path) for path in times} == times
    kept = {message.partition(":")[0] for message in forgetful if "unchanged, kept in" in message}
    assert kept == set(stages) == set(micro.stages())


def test_a_stage_by_its_own_script_is_the_stage_of_the_chain(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    stages = micro.stages()
    for path, stage in {
        "research/clean_data.py": "clean",
        "research/train_teacher.py": "teachers/convnext",
        "ensembles/combine.py": "ensemble",
        "distill/make_soft_labels.py": "soft_labels/probe",
        "distill/train_student.py": "student",
        "distill/export_onnx.py": "export",
        "benchmarks/precision.py": "benchmarks/precision",
        "benchmarks/latency.py": "benchmarks/latency",
    }.items():
        micro.run(path=path)
        assert f"{stage}/{min(stages[stage])}" in capsys.readouterr().out, path
    assert micro.stages() == stages


def test_stored_soft_labels_are_checked_and_written_as_a_table_on_request(
    micro: Micro, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    micro.run("--check", "--table", str(tmp_path / "labels.parquet"), path="distill/make_soft_labels.py")
    assert [view.view for view in read_table(tmp_path / "labels.parquet")] == [0, 1]
    out = capsys.readouterr().out
    assert out.count("checked: views 0, 1 of ") == out.count("soft labels of ") > 0


def test_the_last_lines_say_where_the_file_and_the_results_are(
    micro: Micro, capsys: pytest.CaptureFixture[str]
) -> None:
    micro.run(path="benchmarks/report.py")
    *_, file, tables, report, mistakes, hand_in, headline = capsys.readouterr().out.splitlines()
    assert Path(file.partition(":")[2].strip()).samefile(micro.runs / "export" / "latest" / "student.onnx")
    assert Path(tables.partition(":")[2].strip()).is_dir()
    assert Path(report.partition(":")[2].strip()).is_file() and Path(mistakes.partition(":")[2].strip()).is_file()
    assert hand_in.endswith("--bundle FOLDER")
    assert "accuracy" in headline and "ensemble" in headline


@pytest.fixture
def copied(micro: Micro, tmp_path: Path) -> Micro:
    """A finished run of its own, free to be changed."""
    shutil.copytree(micro.place, tmp_path / "copy", symlinks=True)
    return replace(micro, place=tmp_path / "copy")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers that must not be trained again."""

    def forbidden(*arguments: object, **keywords: object) -> None:
        raise AssertionError("a teacher was trained again")

    monkeypatch.setattr(teacher_stage, "train", forbidden)
    monkeypatch.setattr(teacher_stage, "fit_head", forbidden)


@pytest.mark.usefixtures("no_training")
def test_another_pooling_runs_only_what_depends_on_it_and_no_teacher(copied: Micro) -> None:
    before, files = copied.stages(), copied.files()
    copied.run("--set", "ensemble.pooling=equal")
    after = copied.stages()
    labelling = {stage for stage in after if stage.startswith("soft_labels/") and stage not in before}
    changed = {stage for stage in before if after[stage] != before[stage]}
    assert set(after) == set(before) | labelling  # a teacher that was not active before labels views now
    assert changed == {
        "ensemble", "student", "predictions/student", "shipped", "export", "int8", "benchmarks/precision",
        "benchmarks/latency",
    }  # fmt: skip
    assert all(before[stage] < after[stage] for stage in changed)  # what was there stays
    now = copied.files()
    stages = tuple(f"store/{stage}/{mark}/" for stage, marks in before.items() for mark in marks)
    assert {path: digest for path, digest in now.items() if path.startswith(stages)} == {
        path: digest for path, digest in files.items() if path.startswith(stages)
    }


@pytest.mark.usefixtures("no_training")
def test_what_was_made_before_a_change_is_found_again(copied: Micro) -> None:
    stages = copied.stages()
    marks = {name: (copied.runs / name / "latest").resolve().name for name in stages}
    copied.run("--set", "ensemble.pooling=greedy", path="ensembles/combine.py")
    assert (copied.runs / "ensemble" / "latest").resolve().name not in stages["ensemble"]
    copied.run(path="ensembles/combine.py")
    assert (copied.runs / "ensemble" / "latest").resolve().name in stages["ensemble"]
    assert {name: (copied.runs / name / "latest").resolve().name for name in stages if name != "ensemble"} == {
        name: mark for name, mark in marks.items() if name != "ensemble"
    }


def test_another_title_runs_nothing_again(copied: Micro) -> None:
    stages = copied.stages()
    copied.run("--set", "title=Other words", path="distill/train_student.py")
    assert copied.stages() == stages


def test_another_student_leaves_teachers_and_ensemble_alone(copied: Micro) -> None:
    before = copied.stages()
    copied.run("--set", "student.learning_rate=0.002", path="distill/train_student.py")
    after = copied.stages()
    assert {stage for stage in after if after[stage] != before[stage]} == {"student", "student_alone"}


def test_a_study_that_extends_another_and_changes_its_student_trains_no_teacher(
    copied: Micro, no_training: None, tmp_path: Path
) -> None:
    variant = tmp_path / "variant.yaml"
    variant.write_text("{extends: micro, name: variant, student: {learning_rate: 0.002}}")
    before = copied.stages()
    places = ["--runs", str(copied.place / "runs"), "--wandb", "disabled"]
    copied.script("distill/train_student.py").main(["--study", str(variant), *places])
    after = copied.stages()
    assert {stage for stage in after if after[stage] != before[stage]} == {"student", "student_alone"}
    own = copied.place / "runs" / "variant"
    for stage in ("teachers/convnext", "soft_labels/probe"):
        assert (own / stage / "latest").samefile(copied.runs / stage / "latest")
    assert not (own / "student" / "latest").samefile(copied.runs / "student" / "latest")


def test_the_plan_of_a_finished_study_runs_nothing(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    before = micro.files()
    micro.run("--plan")
    *lines, total, geometry = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == set(micro.stages()) and all("finished" in line for line in lines)
    assert total.startswith(f"to run: 0 of {len(lines)} stages")
    assert geometry.startswith("geometry: crop") and "median aspect ratio" in geometry
    assert micro.files() == before


def test_the_plan_of_a_change_names_what_would_run_and_the_time_of_earlier_runs(
    micro: Micro, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = micro.stages()
    micro.run("--plan", "--set", "student.learning_rate=0.002")
    *lines, total, _ = capsys.readouterr().out.splitlines()
    waiting = {line.split()[0] for line in lines if "to run" in line}
    assert waiting == {
        "student", "student_alone", "predictions/student", "predictions/student_alone", "shipped", "export", "int8",
        "benchmarks/precision", "benchmarks/latency",
    }  # fmt: skip
    assert "by earlier runs" in total and "unknown" not in total
    assert micro.stages() == stages


def test_the_plan_of_a_study_that_never_ran_builds_and_draws_nothing(
    tmp_path: Path, micro: Micro, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(micro, place=tmp_path).run("--plan")
    *lines, total, geometry = capsys.readouterr().out.splitlines()
    assert all("to run" in line and "unknown" in line for line in lines)
    assert f"{len(lines)} never ran here" in total and "decided when the data are cleaned" in geometry
    assert not list(tmp_path.rglob("*.png")) and not list(tmp_path.rglob("finished.json"))


def test_one_teacher_alone_can_be_trained(copied: Micro) -> None:
    before = copied.stages()
    copied.run("--set", "teachers.convnext.epochs=1", "--teacher", "convnext", path="research/train_teacher.py")
    after = copied.stages()
    changed = {stage for stage in after if after[stage] != before[stage]}
    assert changed == {"teachers/convnext", "predictions/convnext"}
