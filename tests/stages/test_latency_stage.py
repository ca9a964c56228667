"""What the stage decides to time: threads and engines of this machine, every file of the student."""

from pathlib import Path

import pytest

from decant.data.preprocessing import Preprocessing
from decant.models.backbones import blank_classifier
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.stages import latency as stage
from decant.study import Benchmark


@pytest.mark.parametrize(
    ("asked", "cores", "counts"),
    [([1, 2, "all"], 16, [1, 2, 16]), ([1, 2, "all"], 2, [1, 2]), (["all", 1], 1, [1]), ([4], 2, [4])],
)
def test_all_threads_are_the_cores_of_this_process_and_none_is_counted_twice(
    asked: list[int | str], cores: int, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decant.cores.usable_cores", lambda: cores)
    assert stage.thread_counts(asked) == counts


def test_a_runs_own_table_is_quick_and_the_full_one_is_as_asked() -> None:
    quick = stage.timed_settings(Benchmark())
    assert (quick.latency_engines, quick.latency_batches, len(quick.latency_threads)) == (["onnxruntime"], [1], 1)
    assert quick.latency_calls * quick.latency_rounds <= 80
    assert stage.timed_settings(Benchmark(full=True)) == Benchmark(full=True)


def test_a_quick_table_never_times_more_than_the_study_asks_for() -> None:
    asked = Benchmark(latency_calls=5, latency_rounds=1, latency_threads=[1])
    quick = stage.timed_settings(asked)
    assert (quick.latency_calls, quick.latency_rounds, quick.latency_threads) == (5, 1, [1])


def test_an_optional_engine_is_timed_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["onnxruntime", "openvino", "torch"]
    monkeypatch.setattr(stage, "find_spec", lambda _: object())
    assert stage.installed_engines(asked) == asked
    monkeypatch.setattr(stage, "find_spec", lambda _: None)
    assert stage.installed_engines(asked) == ["onnxruntime", "torch"]


def test_every_file_of_the_student_is_timed_whole_and_bare_in_every_engine(tmp_path: Path) -> None:
    tiny = {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}
    card = {"architecture": "convnext_atto", "model_args": tiny}
    classifier = blank_classifier("convnext_atto", 2, 32, tiny)
    save_checkpoint(tmp_path / "student", Checkpoint(classifier, ["a", "b"], Preprocessing(32), card))
    files = {"student_onnx": tmp_path / "student.onnx", "student_onnx_int8": tmp_path / "int8" / "student_int8.onnx"}
    found = stage.student_candidates(files, tmp_path / "student", (30, 40))
    told = [(one.model, one.kind, one.dtype, one.inputs.graph, one.engine, one.path.name) for one in found]
    assert told == [
        (model, model, precision, graph, engine, file)
        for model, precision, whole, bare in (
            ("student_onnx", "fp32", "student.onnx", "student_bare.onnx"),
            ("student_onnx_int8", "int8", "student_int8.onnx", "student_int8_bare.onnx"),
        )
        for graph, file in (("full", whole), ("bare", bare))
        for engine in ("onnxruntime", "openvino")
    ] + [("student", "student", "fp32", "bare", engine, "student") for engine in ("torch", "torch_compile")]
    assert {(one.inputs.input_px, one.inputs.height, one.inputs.width) for one in found[:8]} == {(32, 30, 40)}
