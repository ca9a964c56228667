"""What the report says of the times: of which rows, against whom, and who dominates the student."""

import csv
import json
from pathlib import Path

import pytest

from decant.evaluation.tables import ratio, write_results_table
from decant.reporting.figures import pareto_rows
from decant.reporting.report import report_text
from decant.reporting.results_files import read_results_files, reported_latency
from decant.reporting.times import dominating, latency_section
from decant.timing.models import LATENCY_COLUMNS
from decant.timing.quoted import quoted_threads

Row = dict[str, object]
INT8 = {
    "offered": True, "why": "as fast again", "val_accuracy": 0.79, "val_accuracy_fp32": 0.8, "p50_ms": 1.6,
    "p50_ms_fp32": 3.2, "threads": 2, "file_mb": 3.9,
}  # fmt: skip


def a_time(model: str, p50_ms: float, engine: str = "onnxruntime", **other: object) -> Row:
    kind = model if model.startswith(("student", "ensemble")) else "teacher"
    row: Row = dict.fromkeys(LATENCY_COLUMNS, 7.77) | {"model": model, "kind": kind, "engine": engine}
    row |= {"precision": "fp32", "graph": "full", "input_px": 128, "batch_size": 1, "threads": 2, "file_mb": 13.6}
    return row | {"p50_ms": p50_ms} | other


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_times(study: Path, *rows: Row) -> None:
    write_results_table(rows, study / "benchmarks" / "latency" / "metrics.csv", LATENCY_COLUMNS)


def write_accuracy(study: Path, **accuracy: float) -> None:
    """Sets the accuracy on test of those models."""
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


def the_section(study: Path) -> str:
    return latency_section(read_results_files(study), study)


def dominators(study: Path) -> list[str]:
    return [row["model"] for row, _ in dominating(read_results_files(study), "test")]


STUDENT = (a_time("student_onnx", 3.2), a_time("student_onnx", 2.0, "openvino"))
TEACHERS = (
    a_time("lite2", 14.4),
    a_time("lite2", 9.0, "openvino"),
    a_time("lite2", 60.8, "torch", graph="bare"),
    a_time("lite2", 48.0, "torch", graph="bare", threads=1),
    a_time("lite2", 1.0, "torch", graph="bare", batch_size=8),
    a_time("ensemble", 12.8, "openvino"),
    a_time("ensemble", 99.0, "torch", graph="bare"),
)


def test_the_student_is_held_against_the_best_teacher_in_its_engine_and_in_pytorch_at_its_best_and_against_the_ensemble(
    study: Path,
) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    text = the_section(study)
    assert (
        "student_onnx takes 3.20 ms for one image (median; ONNX Runtime, 2 threads, "
        "preprocessing included; single processes 7.77 to 7.77 ms). "
        "Its fastest engine is OpenVINO with 2.00 ms. "
        "lite2, the best single teacher, takes 4.5 times as long in ONNX Runtime and "  # 14.4 ÷ 3.2
        "15.0 times as long in PyTorch on 1 thread, without preprocessing. "  # 48 ÷ 3.2
        "The ensemble takes 4.0 times as long in OpenVINO." in text  # 12.8 ÷ 3.2
    )


def test_a_single_process_is_no_range(study: Path) -> None:
    write_times(study, a_time("student_onnx", 3.2, processes=1))
    assert "2 threads, preprocessing included). " in the_section(study)


def test_who_was_not_timed_is_not_in_a_ratio(study: Path) -> None:
    write_times(study, STUDENT[0], *TEACHERS[2:3])
    text = the_section(study)
    assert "lite2, the best single teacher, takes 19.0 times as long in PyTorch, without preprocessing." in text
    assert "The ensemble takes" not in text and "Its fastest engine is" not in text
    write_times(study, STUDENT[0])
    assert "times as long" not in the_section(study)


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
def test_a_model_dominates_that_is_no_worse_in_both_and_better_in_one(
    study: Path, accuracy: float, p50_ms: float, dominates: bool
) -> None:
    write_accuracy(study, student_onnx=0.80, student_alone=0.1, lite0=0.1, lite2=accuracy, ensemble=0.1)
    write_times(study, *STUDENT, a_time("lite2", p50_ms, "openvino"), a_time("lite2", 14.4))
    assert dominators(study) == ["lite2"] * dominates
    assert ("No other model dominates it: none is at least as accurate on test" in the_section(study)) is not dominates
    expected = f"It is dominated by lite2: an accuracy of {accuracy:.3f} against 0.800 on test in {p50_ms:.2f} ms"
    assert (expected in the_section(study)) is dominates


def test_other_conditions_decide_nothing_about_who_dominates(study: Path) -> None:
    write_accuracy(study, student_onnx=0.80, student_alone=0.1, lite0=0.1, lite2=0.9, ensemble=0.1)
    elsewhere = ({"graph": "bare"}, {"threads": 4}, {"batch_size": 8})
    write_times(study, *STUDENT, *(a_time("lite2", 0.1, **one) for one in elsewhere))
    assert dominators(study) == []


def test_the_student_alone_is_the_same_network_and_so_as_fast(study: Path) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    write_accuracy(study, student_onnx=0.80, student_alone=0.80)
    assert dominators(study) == []
    write_accuracy(study, student_alone=0.82)
    assert dominators(study) == ["student_alone"]
    said = "student_alone: an accuracy of 0.820 against 0.800 on test in 2.00 ms (the same network, so the same time)"
    assert said in the_section(study)


def test_times_that_overlap_from_process_to_process_are_said_to(study: Path) -> None:
    write_accuracy(study, student_onnx=0.80, student_alone=0.1, lite0=0.1, lite2=0.81, ensemble=0.1)
    student = a_time("student_onnx", 2.0, p50_low_ms=1.9, p50_high_ms=2.1)
    for low, high, said in ((1.7, 1.95, True), (1.7, 1.85, False)):
        write_times(study, student, a_time("lite2", 1.8, p50_low_ms=low, p50_high_ms=high))
        assert dominators(study) == ["lite2"]
        expected = "the times of single processes overlap"
        assert (expected in the_section(study)) is said


def test_what_accuracy_has_and_time_has_not_is_said(study: Path) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    text = the_section(study)
    assert "without the test-time augmentation of its accuracy" in text
    assert "For lite0 one model is timed; the accuracy is that of the mean over the folds." in text
    asked = json.loads((study / "study.json").read_text(encoding="utf-8"))
    asked["ensemble"]["tta"], asked["teachers"]["lite0"]["folds"] = [], 0
    write_json(study / "study.json", asked)
    text = the_section(study)
    assert "each in its fastest engine." in text and "folds" not in text


def test_the_pareto_plot_has_the_twin_at_the_students_time_and_nothing_timed_otherwise(study: Path) -> None:
    add_int8(study)
    int8 = a_time("student_onnx_int8", 1.6, precision="int8")
    write_times(study, *STUDENT, *TEACHERS[:3], int8, a_time("student", 9.0, "torch", graph="bare"))
    shown = {row["model"]: timing["p50_ms"] for row, timing in pareto_rows(read_results_files(study))}
    assert shown == {"student_onnx": "3.20", "student_alone": "3.20", "lite2": "14.4", "student_onnx_int8": "1.60"}
    write_json(study / "export" / "int8.json", INT8 | {"offered": False})
    assert "student_onnx_int8" not in [row["model"] for row, _ in pareto_rows(read_results_files(study))]


def test_a_difference_that_these_images_do_not_settle_is_said_to_be_one(study: Path) -> None:
    write_times(study, *STUDENT)
    write_accuracy(study, student_onnx=0.80, student_alone=0.82)
    table = study / "benchmarks" / "precision" / "comparisons.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["other"] == "student_alone"]
    for low, high, said in (("-0.0500", "0.0100", True), ("-0.0500", "-0.0100", False)):
        interval = {"accuracy_difference_low": low, "accuracy_difference_high": high}
        write_results_table([row | interval for row in rows], table)
        assert ("though the 95 % interval of the difference in accuracy contains 0" in the_section(study)) is said


def test_int8_is_held_against_the_best_teacher_and_the_ensemble_and_does_not_dominate_its_own_network(
    study: Path,
) -> None:
    add_int8(study)
    write_accuracy(study, student_onnx=0.80, student_onnx_int8=0.81)
    write_times(study, *STUDENT, *TEACHERS, a_time("student_onnx_int8", 1.6, precision="int8"))
    assert "student_onnx_int8" not in dominators(study)
    assert (
        "Compared with the int8 file, in fp32 lite2 takes 9.0 times as long in ONNX Runtime "
        "and the ensemble takes 8.0 times as long in OpenVINO." in the_section(study)  # 14.4 ÷ 1.6, 12.8 ÷ 1.6
    )


def test_an_int8_file_that_is_not_offered_is_neither_compared_with_others_nor_called_shipped(study: Path) -> None:
    add_int8(study)
    write_accuracy(study, student_onnx=0.80, student_onnx_int8=0.70)
    sizes = [a_time("student_onnx_int8", 1.6, precision="int8", batch_size=size) for size in (1, 8)]
    write_times(study, *STUDENT, a_time("student_onnx", 9.9, batch_size=8), *TEACHERS, *sizes)
    write_json(study / "export" / "int8.json", INT8 | {"offered": True})
    assert "Compared with the int8 file" in the_section(study) and "| onnxruntime | int8 | 2 |" in the_section(study)
    write_json(study / "export" / "int8.json", INT8 | {"offered": False})
    text = the_section(study)
    assert "In int8, which is not offered, it takes 1.60 ms against 3.20 ms in fp32" in text
    assert "Compared with the int8 file" not in text and "| onnxruntime | int8 | 2 |" not in text


def test_int8_is_held_against_fp32_in_the_same_engine(study: Path) -> None:
    add_int8(study)
    write_accuracy(study, student_onnx=0.80, student_onnx_int8=0.79)
    int8 = {"precision": "int8", "file_mb": 3.9}
    write_times(study, *STUDENT, a_time("student_onnx_int8", 1.6, **int8))
    assert (
        "In int8 it takes 1.60 ms against 3.20 ms in fp32; its file has 3.90 MB instead of 13.6 MB, "
        "its accuracy on test is 0.790 against 0.800." in the_section(study)
    )
    one_thread = [a_time("student_onnx", 5.0, threads=1), a_time("student_onnx_int8", 2.5, threads=1, **int8)]
    write_times(study, *STUDENT, a_time("student_onnx_int8", 1.6, **int8), *one_thread)
    assert (
        "In int8 it takes 1.60 ms against 3.20 ms in fp32 (2.50 ms against 5.00 ms on 1 thread); its file has 3.90 MB"
        in the_section(study)
    )
    write_times(study, *STUDENT, a_time("student_onnx_int8", 1.6, **int8), one_thread[0])
    assert "on 1 thread" not in the_section(study)
    write_times(study, *STUDENT, a_time("student_onnx_int8", 1.6, graph="bare", **int8))
    assert "In int8" not in the_section(study)


def test_the_long_table_shows_the_quoted_setting_alone_and_links_to_the_rest(study: Path) -> None:
    rows = [
        a_time(model, 1.0, engine, batch_size=size, threads=threads)
        for size in (32, 1, 8)
        for model in ("lite2", "student_onnx")
        for engine in ("onnxruntime", "openvino")
        for threads in (1, 2, 16)
    ]
    write_times(study, *rows)
    text = the_section(study)
    assert "One image per call on 2 threads; [all batch sizes and threads](benchmarks/latency/metrics.csv):" in text
    lines = [line for line in text.splitlines() if line.startswith(("| lite2 |", "| student_onnx |"))]
    assert [line.split(" | ")[:2] for line in lines] == [
        [f"| {model}", engine] for model in ("lite2", "student_onnx") for engine in ("onnxruntime", "openvino")
    ]


def test_the_throughput_table_has_the_shipped_files_by_engine_threads_and_batch(study: Path) -> None:
    rates = {(1, 1): 111.0, (1, 2): 222.0, (32, 2): 333.0}
    rows = [
        a_time("student_onnx", 1.0, batch_size=size, threads=threads, images_per_second=rate)
        for (size, threads), rate in rates.items()
    ]
    int8 = a_time("student_onnx_int8", 1.0, precision="int8", images_per_second=444.0)
    others = [a_time("student_onnx", 1.0, graph="bare", images_per_second=555.0), a_time("lite2", 1.0, batch_size=8)]
    write_times(study, *rows, int8, *others)
    table = the_section(study).partition("Images per second of the shipped file, preprocessing included:\n\n")[2]
    assert table.splitlines() == [
        "| engine | precision | threads | batch 1 | batch 32 |",
        "| --- | --- | --: | --: | --: |",
        "| onnxruntime | fp32 | 1 | 111 | – |",
        "| onnxruntime | fp32 | 2 | 222 | 333 |",
        "| onnxruntime | int8 | 2 | 444 | – |",
    ]
    write_times(study, a_time("student_onnx", 1.0))
    assert "Images per second" not in the_section(study)


def test_the_quoted_time_is_onnx_runtimes_where_it_was_measured(study: Path) -> None:
    write_times(study, *STUDENT, *TEACHERS)
    results = read_results_files(study)
    quoted = {model: reported_latency(results, model) for model in ("student_onnx", "lite2", "ensemble")}
    assert {model: row and row["p50_ms"] for model, row in quoted.items()} == {
        "student_onnx": "3.20", "lite2": "14.4", "ensemble": "12.8",
    }  # fmt: skip
    assert "takes 3.20 ms" in report_text(study, study)


@pytest.mark.parametrize(("threads", "quoted"), [([1, 2, 16], 2), ([1], 1), ([4, 8], 8)])
def test_two_threads_are_quoted_or_else_the_most(threads: list[int], quoted: int) -> None:
    assert quoted_threads(threads) == quoted


def test_a_ratio_has_one_decimal() -> None:
    assert (ratio("14.4", "3.20"), ratio("1", "3")) == ("4.5", "0.3")
