"""The latency table: which rows, calls and processes it has. No test asserts a time."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.models.backbones import blank_classifier
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.timing import models as candidates
from decant.timing.models import (
    LATENCY_COLUMNS,
    Candidate,
    calls_of,
    cause_of,
    ensemble_rows,
    is_timed,
    latency_row,
    measure_candidates,
    measure_speedups,
    onnx_candidate,
    run_fresh,
    torch_candidate,
    warmup_of,
)
from decant.timing.process import LOADERS, Inputs, Job, Samples, make_batch, measure


@pytest.fixture
def bare_graph(tmp_path: Path) -> Path:
    """An ONNX file that averages a float image: [B, 3, S, S] → [B, 3]."""
    shape = ["batch", 3, "s", "s"]
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["image"], ["logits"])],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, 1, 1])],
    )
    path = tmp_path / "mean.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    classifier = blank_classifier("convnext_atto", 3, 32, {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]})
    card = {"architecture": "convnext_atto", "model_args": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}}
    save_checkpoint(tmp_path / "teacher", Checkpoint(classifier, ["a", "b", "c"], Preprocessing(32), card))
    return tmp_path / "teacher"


def a_row(model: str, engine: str, p50_ms: float, **other: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(LATENCY_COLUMNS, 1.0)
    row |= {
        "kind": "teacher",
        "precision": "fp32",
        "graph": "bare",
        "input_px": "96",
        "batch_size": 1,
        "threads": 2,
    }
    return row | {"model": model, "engine": engine, "p50_ms": p50_ms} | other


def test_an_onnx_file_and_a_checkpoint_give_rows_of_the_table(bare_graph: Path, checkpoint: Path) -> None:
    rows = measure_candidates(
        [
            onnx_candidate("mean", "student_onnx", bare_graph, Inputs("bare", 32), checkpoint),
            torch_candidate("convnext", "teacher", checkpoint),
        ],
        batch_sizes=[2],
        threads=[1],
        calls=6,
        warmup=1,
        rounds=1,
    )
    assert [row["model"] for row in rows] == ["mean", "convnext"]
    assert [row["engine"] for row in rows] == ["onnxruntime", "torch"]
    for row in rows:
        assert tuple(row) == LATENCY_COLUMNS
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["images_per_second"] > 0 and row["cold_start_s"] > 0 and row["peak_rss_mb"] > 10
    assert rows[0]["file_mb"] == bare_graph.stat().st_size / 1e6
    assert rows[0]["gmacs"] == rows[1]["gmacs"] > 0
    assert rows[1]["file_mb"] == (checkpoint / "model.safetensors").stat().st_size / 1e6


def test_rounds_alternate_their_order_and_their_samples_are_merged(
    bare_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[tuple[str, int]] = []

    def pretend(job: Job) -> Samples:
        jobs.append((Path(job.path).name, job.calls))
        return Samples(cold_start_s=float(len(jobs)), call_ms=[float(len(jobs))] * job.calls, peak_rss_mb=len(jobs))

    monkeypatch.setattr(candidates, "run_fresh", pretend)
    other = bare_graph.with_name("other.onnx")
    other.write_bytes(bare_graph.read_bytes())
    models = [Candidate(p.stem, "teacher", "onnxruntime", p, Inputs("bare", 8)) for p in (bare_graph, other)]
    first, second = measure_candidates(models, batch_sizes=[1], threads=[1], calls=10, warmup=0, rounds=3)
    names = ["mean.onnx", "other.onnx"]
    assert [name for name, _ in jobs] == [*names, *names[::-1], *names]
    assert {calls for _, calls in jobs} == {4}  # 10 calls in 3 rounds, rounded up
    # mean.onnx ran first, fourth and fifth, other.onnx second, third and sixth.
    assert (first["p50_ms"], first["cold_start_s"], first["peak_rss_mb"]) == (4, 4, 5)
    assert (second["p50_ms"], second["peak_rss_mb"]) == (3, 6)
    assert first["images_per_second"] == pytest.approx(1000 / np.mean([1, 4, 5]))
    assert (first["p50_low_ms"], first["p50_high_ms"], second["p50_low_ms"], second["p50_high_ms"]) == (1, 5, 2, 6)
    assert (first["calls"], first["processes"]) == (12, 3)


def test_speedups_are_ratios_within_a_round_so_that_a_slow_round_does_not_change_them(
    bare_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bare_graph.with_name("other.onnx")
    other.write_bytes(bare_graph.read_bytes())
    models = [Candidate(p.stem, "student", "onnxruntime", p, Inputs("bare", 8)) for p in (bare_graph, other)]
    # mean.onnx takes twice as long as other.onnx on one thread and equally long on two threads. Two of the three rounds
    # are slow, and one process of the last round is even slower.
    slow = iter([1, 1, 1, 1, 5, 5, 5, 5, 5, 9, 5, 5])

    def pretend(job: Job) -> Samples:
        factor = 2 if job.path == str(bare_graph) and job.threads == 1 else 1
        return Samples(0.0, [float(next(slow) * factor)] * job.calls, 1.0)

    monkeypatch.setattr(candidates, "run_fresh", pretend)
    rows = measure_speedups(models, threads=[1, 2], calls=6, rounds=3)
    assert [(row["model"], row["threads"]) for row in rows] == [("mean", 1), ("mean", 2), ("other", 1), ("other", 2)]
    assert [row["times_as_fast"] for row in rows] == [1, 1, 2, 1]


def replace_processes(monkeypatch: pytest.MonkeyPatch, broken: str = "", stderr: str = "") -> list[Job]:
    """Replace `run_fresh` and return the list of its jobs. A call takes 1 ms; jobs of the engine `broken` fail."""
    jobs: list[Job] = []

    def pretend(job: Job) -> Samples:
        jobs.append(job)
        if job.engine == broken:
            raise UserError(f"{job.path}: timing it in {job.engine} failed:\n{stderr}")
        return Samples(cold_start_s=1.0, call_ms=[1.0] * job.calls, peak_rss_mb=1.0)

    monkeypatch.setattr(candidates, "run_fresh", pretend)
    return jobs


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("onnxruntime", {1: [67, 67, 67], 8: [100, 100], 32: [100, 100]}),  # a large batch in two processes
        ("torch", {1: [100, 100], 8: [15, 15], 32: [15, 15]}),
    ],
)
def test_onnx_rows_have_all_requested_calls_and_large_batches_in_pytorch_fewer(
    engine: str, expected: dict[int, list[int]], bare_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = replace_processes(monkeypatch)
    model = Candidate("m", "student", engine, bare_graph, Inputs("bare", 8))
    rows = measure_candidates([model], [1, 8, 32], [1], calls=200, warmup=10, rounds=3)
    assert {size: [job.calls for job in jobs if job.batch_size == size] for size in (1, 8, 32)} == expected
    assert {row["batch_size"]: (row["calls"], row["processes"]) for row in rows} == {
        size: (sum(calls), len(calls)) for size, calls in expected.items()
    }
    assert {job.warmup for job in jobs if job.batch_size > 1} == {2}


@pytest.mark.parametrize(("engine", "rounds"), [("onnxruntime", 5), ("openvino", 5), ("torch", 2)])
def test_onnx_rows_of_one_image_are_measured_in_every_round_and_pytorch_rows_in_two(
    engine: str, rounds: int, bare_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = replace_processes(monkeypatch)
    measure_candidates([Candidate("m", "student", engine, bare_graph, Inputs("bare", 8))], [1], [1], 200, 10, 5)
    assert [job.calls for job in jobs] == [200 // rounds] * rounds


@pytest.mark.parametrize(
    ("calls", "batch_size", "expected"), [(200, 1, 200), (200, 4, 50), (200, 32, 30), (5, 1, 5), (5, 8, 5), (40, 8, 30)]
)
def test_pytorch_has_at_least_30_calls_but_never_more_than_requested(
    calls: int, batch_size: int, expected: int
) -> None:
    def calls_in(engine: str) -> int:
        return calls_of(Candidate("m", "student", engine, Path("m"), Inputs("bare", 8)), batch_size, calls)

    assert (calls_in("torch"), calls_in("onnxruntime"), calls_in("openvino")) == (expected, calls, calls)


@pytest.mark.parametrize(("warmup", "batch_size", "expected"), [(10, 1, 10), (10, 2, 5), (10, 32, 2), (0, 8, 0)])
def test_a_large_batch_has_fewer_warmup_calls(warmup: int, batch_size: int, expected: int) -> None:
    assert warmup_of(batch_size, warmup) == expected


def test_the_student_is_timed_at_every_setting_and_teachers_at_fewer(bare_graph: Path, checkpoint: Path) -> None:
    def timed(kind: str, engine: str) -> set[tuple[int, int]]:
        candidate = Candidate("m", kind, engine, bare_graph, Inputs("bare", 8))
        return {(size, count) for size in (1, 8, 32) for count in (1, 2, 16) if is_timed(candidate, size, count, 2)}

    everywhere = {(size, count) for size in (1, 8, 32) for count in (1, 2, 16)}
    for engine in ("onnxruntime", "openvino"):
        assert timed("student_onnx", engine) == timed("student_onnx_int8", engine) == everywhere
        assert timed("teacher", engine) == everywhere - {(32, 1), (32, 16)}
    assert timed("student", "torch") == everywhere
    assert timed("teacher", "torch") == {(1, 1), (1, 2), (1, 16), (8, 2)}
    assert timed("student", "torch_compile") == {(1, 2)}


@pytest.mark.parametrize("engine", ["openvino", "torch_compile"])
def test_an_engine_that_may_fail_loses_only_its_rows_and_the_log_names_the_cause(
    engine: str, bare_graph: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = replace_processes(
        monkeypatch, broken=engine, stderr="  File, line 1\nRuntimeError: no such operator\n\nSet THIS."
    )
    models = [Candidate("m", "student", name, bare_graph, Inputs("bare", 8)) for name in ("onnxruntime", engine)]
    with caplog.at_level(logging.WARNING):
        rows = measure_candidates(models, [1, 8], [1, 2], calls=4, rounds=2)
    assert [(row["engine"], row["batch_size"], row["threads"]) for row in rows] == [
        ("onnxruntime", size, count) for size in (1, 8) for count in (1, 2)
    ]
    assert [job.engine for job in jobs].count(engine) == 1  # it is not tried again
    (message,) = caplog.messages
    assert f"m (bare graph) in {engine}" in message and message.endswith(": RuntimeError: no such operator")


def test_the_cause_is_the_last_exception() -> None:
    stderr = "a.onnx: timing it failed:\nValueError: first\n\nIt caused:\n  File\nx.y.Broken: second\nmore"
    assert cause_of(stderr) == "x.y.Broken: second more"
    assert cause_of("Killed\n") == "Killed"


def test_a_failure_of_onnx_runtime_is_an_error(bare_graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_processes(monkeypatch, broken="onnxruntime", stderr="Fail: no")
    with pytest.raises(UserError, match="Fail: no"):
        measure_candidates([Candidate("m", "student", "onnxruntime", bare_graph, Inputs("bare", 8))])


def test_openvino_gives_the_outputs_of_onnx_runtime(bare_graph: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is optional")
    jobs = [Job(engine, str(bare_graph), Inputs("bare", 16), 3, 1, 1, 0) for engine in ("openvino", "onnxruntime")]
    batch = make_batch(jobs[0].inputs, 3)
    (in_openvino,), (in_onnxruntime,) = (LOADERS[job.engine](job)()(batch) for job in jobs)
    np.testing.assert_allclose(in_openvino, batch.mean(axis=(2, 3), keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(in_openvino, in_onnxruntime, rtol=1e-5)
    assert run_fresh(jobs[0]).peak_rss_mb > 10


def test_the_whole_network_is_compiled_and_gives_the_outputs_of_the_eager_one(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilations: list[dict[str, object]] = []

    def pretend(network: nn.Module, **settings: object) -> nn.Module:
        compilations.append(settings)
        return network

    monkeypatch.setattr(torch, "compile", pretend)
    jobs = [Job(engine, str(checkpoint), Inputs("bare", 32), 2, 1, 1, 0) for engine in ("torch", "torch_compile")]
    threads = torch.get_num_threads()
    eager, compiled = (LOADERS[job.engine](job)()(make_batch(job.inputs, 2)) for job in jobs)
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(compiled, eager)
    assert compilations == [{"fullgraph": True, "dynamic": False}]


def test_every_process_starts_with_an_empty_compilation_cache(
    bare_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = []

    def pretend(*_: object, env: dict[str, str], **__: object) -> subprocess.CompletedProcess[str]:
        caches.append(env["TORCHINDUCTOR_CACHE_DIR"])
        assert not list(Path(caches[-1]).iterdir())
        return subprocess.CompletedProcess([], 0, '{"cold_start_s": 1, "call_ms": [1], "peak_rss_mb": 1}', "")

    monkeypatch.setattr(candidates.subprocess, "run", pretend)
    for _ in range(2):
        run_fresh(Job("torch_compile", str(bare_graph), Inputs("bare", 8), 1, 1, calls=1, warmup=0))
    assert len(set(caches)) == 2 and not any(Path(cache).exists() for cache in caches)


def test_percentiles_are_over_the_calls_of_all_processes(bare_graph: Path) -> None:
    samples = [Samples(0.1, [1.0] * 95, 50), Samples(0.3, [100.0] * 5, 60)]
    row = latency_row(Candidate("m", "student", "torch", bare_graph, Inputs("bare", 8)), 1, 2, samples)
    assert row["p50_ms"] == row["p90_ms"] == 1 and row["p99_ms"] == 100
    assert row["cold_start_s"] == pytest.approx(0.2)


def test_peak_memory_is_that_of_the_child_and_not_of_a_large_parent(bare_graph: Path) -> None:
    ballast = np.ones(400 * 2**20, dtype=np.uint8)
    samples = run_fresh(Job("onnxruntime", str(bare_graph), Inputs("bare", 8), 1, 1, calls=2, warmup=0))
    assert samples.peak_rss_mb < 300 < ballast.nbytes / 1e6


def test_the_measuring_process_imports_neither_torch_nor_the_data_stack(bare_graph: Path) -> None:
    job = Job("onnxruntime", str(bare_graph), Inputs("bare", 8), 1, 1, calls=1, warmup=0)
    code = (
        "import sys, json; from decant.timing.process import *; fields = json.loads(sys.argv[1]);"
        "measure(Job(**{**fields, 'inputs': Inputs(**fields['inputs'])}));"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'timm', 'PIL'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    fields = {**job.__dict__, "inputs": job.inputs.__dict__}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(fields)],
        env=candidates.child_environment(1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_settings_of_training_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "4294967296")
    assert "MALLOC_TRIM_THRESHOLD_" not in candidates.child_environment(2)
    assert candidates.child_environment(2)["OMP_NUM_THREADS"] == "2"
    # PyTorch's threads must wait as OpenMP has them wait by default: sleeping threads make a small network far slower.
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    command = [sys.executable, "-c", "import decant, os; print({*decant.cores.WAITING} & {*os.environ})"]
    environment = candidates.child_environment(2)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_call_is_counted_and_takes_time(bare_graph: Path) -> None:
    samples = measure(Job("onnxruntime", str(bare_graph), Inputs("bare", 16), 3, 1, calls=7, warmup=2))
    assert len(samples.call_ms) == 7 and min(samples.call_ms) > 0


def test_batches_have_the_dtype_and_shape_of_the_graphs_input() -> None:
    full, bare = make_batch(Inputs("full", 96, 300, 400), 2), make_batch(Inputs("bare", 96), 5)
    assert full.shape == (2, 300, 400, 3) and full.dtype == np.uint8
    assert bare.shape == (5, 3, 96, 96) and bare.dtype == np.float32
    assert bare.min() >= 0 and bare.max() <= 1


def test_a_broken_file_is_an_error_with_the_engines_message(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"(?s)broken\.onnx.*failed.*(?i:protobuf|parse|model)"):
        run_fresh(Job("onnxruntime", str(broken), Inputs("bare", 8), 1, 1, calls=1, warmup=0))


def test_a_missing_file_is_an_error_before_anything_is_timed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="export it first"):
        measure_candidates([Candidate("m", "student", "torch", tmp_path / "none", Inputs("bare", 8))])


def test_the_ensemble_is_the_sum_of_its_teachers_in_their_fastest_engines() -> None:
    rows = [
        a_row("a", "torch", 10.0, file_mb=5.0, images_per_second=100.0, input_px="96"),
        a_row("a", "onnxruntime", 4.0, file_mb=6.0, images_per_second=250.0, input_px="96"),
        a_row("b", "torch", 7.0, file_mb=8.0, images_per_second=125.0, input_px="128"),
        a_row("b", "onnxruntime", 9.0, file_mb=9.0, images_per_second=111.0, input_px="128"),
        a_row("other", "torch", 0.1),
    ]
    (row,) = ensemble_rows(rows, ["a", "b"])
    assert tuple(row) == LATENCY_COLUMNS
    assert (row["p50_ms"], row["file_mb"], row["input_px"]) == (11.0, 14.0, "128")
    assert row["images_per_second"] == pytest.approx(1 / (1 / 250 + 1 / 125))
    assert (row["model"], row["kind"], row["engine"], row["precision"]) == (
        "ensemble", "ensemble", "mixed", "fp32",
    )  # fmt: skip


def test_the_ensemble_has_a_row_only_if_every_teacher_was_measured() -> None:
    rows = [a_row("a", "torch", 1.0), a_row("b", "torch", 2.0), a_row("a", "torch", 3.0, batch_size=8)]
    assert [row["batch_size"] for row in ensemble_rows(rows, ["a", "b"])] == [1]
    assert ensemble_rows(rows, ["a", "c"]) == []
    unknown = ensemble_rows([a_row("a", "torch", 1.0, gmacs=None), a_row("b", "torch", 2.0)], ["a", "b"])
    assert unknown[0]["gmacs"] is None


def test_of_square_and_rectangular_inputs_the_larger_is_the_ensembles() -> None:
    rows = [a_row("a", "torch", 1.0, input_px="112"), a_row("b", "torch", 1.0, input_px="96x176")]
    assert ensemble_rows(rows, ["a", "b"])[0]["input_px"] == "96x176"
