"""The section on latency: the quoted rows, the comparisons with other models, and dominance."""

import csv
import json
from pathlib import Path

import pytest

from decant.evaluation.tables import ratio, write_results_table
from decant.reporting.figures import pareto_rows
from decant.reporting.report import appendix_text
from decant.reporting.results_files import read_results_files, reported_latency
from decant.reporting.times import dominating, latency_section
from decant.timing.models import LATENCY_COLUMNS
from decant.timing.quoted import quoted_threads

Row = dict[str, object]
INT8 = {
    "offered": True, "why": "twice as fast", "val_accuracy": 0.79, "val_accuracy_fp32": 0.8, "p50_ms": 1.6,
    "p50_ms_fp32": 3.2, "threads": 2, "file_mb": 3.9,
}  # fmt: skip


def time_row(model: str, p50_ms: float, engine: str = "onnxruntime", **other: object) -> Row:
    kind = model if model.startswith(("student", "ensemble")) else "teacher"
    row: Row = dict.fromkeys(LATENCY_COLUMNS, 7.77) | {"model": model, "kind": kind, "engine": engine}
    row |= {"precision": "fp32", "graph": "full", "input_px": 128, "batch_size": 1, "threads": 2, "file_mb": 13.6}
    return row | {"p50_ms": p50_ms} | other


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_times(study: Path, *rows: Row) -> None:
    write_results_table(rows, study / "benchmarks" / "latency" / "metrics.csv", LATENCY_COLUMNS)


def write_accuracy(study: Path, **accuracy: float) -> None:
    """Set the accuracy of these models on test."""
    table = study / "benchmarks" / "precision" / "metrics.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["split"] == "test" and row["model"] in accuracy:
            row["accuracy"] = f"{accuracy[row['model']]:.4f}"
    write_results_table(rows, table)


def add_int8(study: Path) -> None:
    table = study / "benchmarks" / "precision" / "metrics.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    lines += [line.replace("student_onnx", "student_onnx_int8") for line in lines if line.startswith("student_onnx,")]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def latency_text(study: Path) -> str:
    return latency_section(read_results_files(study), study)


def dominators(study: Path) -> list[str]:
    return [row["model"] for row, _ in dominating(read_results_files(study), "test")]


STUDENT = (time_row("student_onnx", 3.2), time_row("student_onnx", 2.0, "openvino"))
TEACHERS = (
    time_row("lite2", 14.4),
    time_row("lite2", 9.0, "openvino"),
    time_row("lite2", 60.8, "torch", graph="bare"),
    time_row("lite2", 48.0, "torch", graph="bare", threads=1),
    time_row("lite2", 1.0, "torch", graph="bare", batch_size=8),
    time_row("ensemble", 12.8, "openvino"),
    time_row("ensemble", 99.0, "torch", graph="bare"),
)


def test_the_student_is_compared_with_the_best_teacher_and_the_ensemble(study: Path) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    text = latency_text(study)
    assert (
        "student_onnx is 3.20 ms for one image (ONNX Runtime, 2 threads, preprocessing included; 7.77 to 7.77 ms"
        in text
    )
    assert "OpenVINO, with 2.00 ms" in text
    assert (
        "lite2, the best single teacher, takes 4.5 times as long in ONNX Runtime and "  # 14.4 ÷ 3.2
        "15.0 times as long in PyTorch on 1 thread, without preprocessing." in text  # 48 ÷ 3.2, the fastest of PyTorch
    )
    assert "ensemble takes 4.0 times as long in OpenVINO." in text  # 12.8 ÷ 3.2


def test_a_single_process_has_no_range_of_medians(study: Path) -> None:
    write_times(study, time_row("student_onnx", 3.2, processes=1))
    assert "2 threads, preprocessing included)." in latency_text(study)


def test_models_that_were_not_timed_have_no_ratio(study: Path) -> None:
    write_times(study, STUDENT[0], *TEACHERS[2:3])
    text = latency_text(study)
    assert "lite2, the best single teacher, takes 19.0 times as long in PyTorch, without preprocessing." in text
    assert "The ensemble takes" not in text and "fastest engine is" not in text
    write_times(study, STUDENT[0])
    assert "times as long" not in latency_text(study)


@pytest.mark.parametrize(
    ("accuracy", "p50_ms", "dominates"),
    [
        (0.80, 2.0, False),  # equal in both
        (0.81, 2.0, True),
        (0.80, 1.9, True),
        (0.81, 1.9, True),
        (0.81, 2.1, False),
        (0.79, 1.9, False),
        (0.99, 9.0, False),
    ],
)
def test_a_dominating_model_is_not_worse_in_either_and_better_in_one(
    study: Path, accuracy: float, p50_ms: float, dominates: bool
) -> None:
    write_accuracy(study, student_onnx=0.80, student_alone=0.1, lite0=0.1, lite2=accuracy, ensemble=0.1)
    write_times(study, *STUDENT, time_row("lite2", p50_ms, "openvino"), time_row("lite2", 14.4))
    assert dominators(study) == ["lite2"] * dominates
    assert ("No other model dominates the student" in latency_text(study)) is not dominates
    expected = f"lite2 dominates the student: an accuracy of {accuracy:.3f} against 0.800 on test, in {p50_ms:.2f} ms"
    assert (expected in latency_text(study)) is dominates


def test_rows_under_other_conditions_do_not_count_for_dominance(study: Path) -> None:
    write_accuracy(study, student_onnx=0.80, student_alone=0.1, lite0=0.1, lite2=0.9, ensemble=0.1)
    conditions = ({"graph": "bare"}, {"threads": 4}, {"batch_size": 8})
    write_times(study, *STUDENT, *(time_row("lite2", 0.1, **condition) for condition in conditions))
    assert dominators(study) == []


def test_the_student_alone_has_the_students_time(study: Path) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    write_accuracy(study, student_onnx=0.80, student_alone=0.80)
    assert dominators(study) == []
    write_accuracy(study, student_alone=0.82)
    assert dominators(study) == ["student_alone"]
    assert "0.820 against 0.800 on test, in 2.00 ms (the same network, so the same time)" in latency_text(study)


def test_overlapping_times_of_single_processes_are_mentioned(study: Path) -> None:
    write_accuracy(study, student_onnx=0.80, student_alone=0.1, lite0=0.1, lite2=0.81, ensemble=0.1)
    student = time_row("student_onnx", 2.0, p50_low_ms=1.9, p50_high_ms=2.1)
    for low, high, mentioned in ((1.7, 1.95, True), (1.7, 1.85, False)):
        write_times(study, student, time_row("lite2", 1.8, p50_low_ms=low, p50_high_ms=high))
        assert dominators(study) == ["lite2"]
        assert ("the times of single processes overlap" in latency_text(study)) is mentioned


def test_the_section_names_what_accuracies_include_and_times_do_not(study: Path) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    text = latency_text(study)
    assert "test-time augmentation" in text
    assert "For lite0, the time is of one fold's model" in text
    settings = json.loads((study / "study.json").read_text(encoding="utf-8"))
    settings["ensemble"]["tta"], settings["teachers"]["lite0"]["folds"] = [], 0
    write_json(study / "study.json", settings)
    text = latency_text(study)
    assert "test-time augmentation" not in text and "fold" not in text


def test_the_pareto_figure_has_only_models_timed_like_the_student(study: Path) -> None:
    add_int8(study)
    int8 = time_row("student_onnx_int8", 1.6, precision="int8")
    write_times(study, *STUDENT, *TEACHERS[:3], int8, time_row("student", 9.0, "torch", graph="bare"))
    shown = {row["model"]: timing["p50_ms"] for row, timing in pareto_rows(read_results_files(study))}
    assert shown == {"student_onnx": "3.20", "student_alone": "3.20", "lite2": "14.4", "student_onnx_int8": "1.60"}
    write_json(study / "export" / "int8.json", INT8 | {"offered": False})
    assert "student_onnx_int8" not in [row["model"] for row, _ in pareto_rows(read_results_files(study))]


def test_an_accuracy_interval_that_contains_0_is_mentioned(study: Path) -> None:
    write_times(study, *STUDENT)
    write_accuracy(study, student_onnx=0.80, student_alone=0.82)
    table = study / "benchmarks" / "precision" / "comparisons.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["other"] == "student_alone"]
    for low, high, mentioned in (("-0.0500", "0.0100", True), ("-0.0500", "-0.0100", False)):
        interval = {"accuracy_difference_low": low, "accuracy_difference_high": high}
        write_results_table([row | interval for row in rows], table)
        assert ("the 95 % interval of the difference in accuracy contains 0" in latency_text(study)) is mentioned


def test_int8_is_compared_with_teacher_and_ensemble_and_does_not_dominate_the_student(study: Path) -> None:
    add_int8(study)
    write_accuracy(study, student_onnx=0.80, student_onnx_int8=0.81)
    write_times(study, *STUDENT, *TEACHERS, time_row("student_onnx_int8", 1.6, precision="int8"))
    assert "student_onnx_int8" not in dominators(study)
    assert (
        "Compared with the int8 file, lite2 in fp32 takes 9.0 times as long in ONNX Runtime "
        "and the ensemble in fp32 takes 8.0 times as long in OpenVINO." in latency_text(study)  # 14.4 ÷ 1.6, 12.8 ÷ 1.6
    )


def test_an_int8_file_that_is_not_offered_is_not_compared_with_other_models(study: Path) -> None:
    add_int8(study)
    write_accuracy(study, student_onnx=0.80, student_onnx_int8=0.70)
    sizes = [time_row("student_onnx_int8", 1.6, precision="int8", batch_size=size) for size in (1, 8)]
    write_times(study, *STUDENT, time_row("student_onnx", 9.9, batch_size=8), *TEACHERS, *sizes)
    write_json(study / "export" / "int8.json", INT8 | {"offered": True})
    assert "Compared with the int8 file" in latency_text(study) and "| onnxruntime | int8 | 2 |" in latency_text(study)
    write_json(study / "export" / "int8.json", INT8 | {"offered": False})
    text = latency_text(study)
    assert "int8 file, which is not offered, takes 1.60 ms against 3.20 ms in fp32" in text
    assert "Compared with the int8 file" not in text and "| onnxruntime | int8 | 2 |" not in text


def test_int8_is_compared_with_fp32_in_the_same_engine(study: Path) -> None:
    add_int8(study)
    write_accuracy(study, student_onnx=0.80, student_onnx_int8=0.79)
    int8 = {"precision": "int8", "file_mb": 3.9}
    write_times(study, *STUDENT, time_row("student_onnx_int8", 1.6, **int8))
    assert (
        "int8 file takes 1.60 ms against 3.20 ms in fp32; its size is 3.90 MB against 13.6 MB; "
        "its accuracy on test is 0.790 against 0.800." in latency_text(study)
    )
    one_thread = [time_row("student_onnx", 5.0, threads=1), time_row("student_onnx_int8", 2.5, threads=1, **int8)]
    write_times(study, *STUDENT, time_row("student_onnx_int8", 1.6, **int8), *one_thread)
    assert "3.20 ms in fp32 (2.50 ms against 5.00 ms on 1 thread)" in latency_text(study)
    write_times(study, *STUDENT, time_row("student_onnx_int8", 1.6, **int8), one_thread[0])
    assert "on 1 thread" not in latency_text(study)
    write_times(study, *STUDENT, time_row("student_onnx_int8", 1.6, graph="bare", **int8))
    assert "The int8 file" not in latency_text(study)


def test_the_table_shows_only_the_quoted_setting_and_links_to_all_rows(study: Path) -> None:
    rows = [
        time_row(model, 1.0, engine, batch_size=size, threads=threads)
        for size in (32, 1, 8)
        for model in ("lite2", "student_onnx")
        for engine in ("onnxruntime", "openvino")
        for threads in (1, 2, 16)
    ]
    write_times(study, *rows)
    text = latency_text(study)
    assert "One image per call on 2 threads; [all batch sizes and threads](benchmarks/latency/metrics.csv):" in text
    lines = [line for line in text.splitlines() if line.startswith(("| lite2 |", "| student_onnx |"))]
    assert [line.split(" | ")[:2] for line in lines] == [
        [f"| {model}", engine] for model in ("lite2", "student_onnx") for engine in ("onnxruntime", "openvino")
    ]


def test_the_throughput_table_has_the_offered_files_by_engine_threads_and_batch(study: Path) -> None:
    rates = {(1, 1): 111.0, (1, 2): 222.0, (32, 2): 333.0}
    rows = [
        time_row("student_onnx", 1.0, batch_size=size, threads=threads, images_per_second=rate)
        for (size, threads), rate in rates.items()
    ]
    int8 = time_row("student_onnx_int8", 1.0, precision="int8", images_per_second=444.0)
    others = [
        time_row("student_onnx", 1.0, graph="bare", images_per_second=555.0),
        time_row("lite2", 1.0, batch_size=8),
    ]
    write_times(study, *rows, int8, *others)
    table = latency_text(study).partition("Images per second ")[2].partition("\n\n")[2]
    assert table.splitlines() == [
        "| engine | precision | threads | batch 1 | batch 32 |",
        "| --- | --- | --: | --: | --: |",
        "| onnxruntime | fp32 | 1 | 111 | – |",
        "| onnxruntime | fp32 | 2 | 222 | 333 |",
        "| onnxruntime | int8 | 2 | 444 | – |",
    ]
    write_times(study, time_row("student_onnx", 1.0))
    assert "Images per second" not in latency_text(study)


def test_the_quoted_time_is_in_onnx_runtime_if_it_was_measured(study: Path) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    results = read_results_files(study)
    quoted = {model: reported_latency(results, model) for model in ("student_onnx", "lite2", "ensemble")}
    assert {model: row and row["p50_ms"] for model, row in quoted.items()} == {
        "student_onnx": "3.20", "lite2": "14.4", "ensemble": "12.8",
    }  # fmt: skip
    assert "is 3.20 ms for one image" in appendix_text(study, study)


@pytest.mark.parametrize(("threads", "quoted"), [([1, 2, 16], 2), ([1], 1), ([4, 8], 8)])
def test_two_threads_are_quoted_or_else_the_largest_number(threads: list[int], quoted: int) -> None:
    assert quoted_threads(threads) == quoted


def test_a_ratio_has_one_decimal() -> None:
    assert (ratio("14.4", "3.20"), ratio("1", "3")) == ("4.5", "0.3")
