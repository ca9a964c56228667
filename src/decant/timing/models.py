"""The latency table: every model is timed in fresh processes, in rounds.

The speed of a machine drifts (heat, other programs, clock rate). If all calls of one model were timed before all calls
of the next, the drift would look like a difference between the models. Here each round times every model, and a row
merges the samples of all rounds.
"""

import json
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import decant
from decant.cores import WAITING
from decant.data.preprocessing import InputPx, height_width, size_text
from decant.errors import UserError
from decant.timing.process import MEGABYTE, Inputs, Job, Samples
from decant.timing.quoted import quoted_threads

LATENCY_COLUMNS = (
    "model", "kind", "engine", "precision", "graph", "input_px", "batch_size", "threads",
    "cold_start_s", "p50_ms", "p90_ms", "p99_ms", "images_per_second",
    "params_millions", "gmacs", "file_mb", "peak_rss_mb",
    "calls", "processes", "p50_low_ms", "p50_high_ms",
)  # fmt: skip
SUMMED_COLUMNS = (
    "cold_start_s", "p50_ms", "p90_ms", "p99_ms", "params_millions", "gmacs", "file_mb", "peak_rss_mb",
    "p50_low_ms", "p50_high_ms",
)  # fmt: skip
# Settings of a training process that a server does not have: malloc keeps memory, threads wait in a chosen way.
NOT_INHERITED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD", *WAITING)
ONNX_ENGINES = ("onnxruntime", "openvino")
MAY_FAIL = ("openvino", "torch_compile")  # if an operator or a compiler is missing, only their rows are left out
LEAST_CALLS, LEAST_WARMUP = 30, 2  # for large batches, whose times vary less
FEW_ROUNDS = 2
# Largest batch at which teachers are timed in PyTorch, and with other numbers of threads than the quoted one.
TEACHERS_BATCH = 8
LONGEST_CAUSE = 300  # characters

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A model, the engine that runs it, and the inputs that it is timed with."""

    model: str
    kind: str  # one of decant.evaluation.metrics.KINDS
    engine: str  # onnxruntime | openvino | torch | torch_compile
    path: Path  # the ONNX file, or the checkpoint's folder
    inputs: Inputs
    dtype: str = "fp32"
    params_millions: float | None = None  # from `network_cost`
    gmacs: float | None = None


def onnx_candidate(
    model: str,
    kind: str,
    path: Path,
    inputs: Inputs,
    checkpoint: Path | None = None,
    dtype: str = "fp32",
) -> Candidate:
    """Return the candidate of an ONNX file in ONNX Runtime. `checkpoint` gives its parameters and multiply-adds."""
    params_millions, gmacs = network_cost(checkpoint) if checkpoint else (None, None)
    return Candidate(model, kind, "onnxruntime", path, inputs, dtype, params_millions, gmacs)


def in_onnx_engines(candidate: Candidate) -> list[Candidate]:
    """Return one candidate per engine that reads ONNX, all with the same file."""
    return [replace(candidate, engine=engine) for engine in ONNX_ENGINES]


def torch_candidate(model: str, kind: str, checkpoint: Path, engine: str = "torch") -> Candidate:
    """Return the candidate of a checkpoint in PyTorch, for prepared images; "torch_compile" compiles the network."""
    from decant.models.checkpoint import load_checkpoint

    input_px = load_checkpoint(checkpoint).preprocessing.input_px
    params_millions, gmacs = network_cost(checkpoint)
    return Candidate(model, kind, engine, checkpoint, Inputs("bare", input_px), "fp32", params_millions, gmacs)


def measure_candidates(
    candidates: Sequence[Candidate],
    batch_sizes: Sequence[int] = (1, 8, 32),
    threads: Sequence[int] = (1, 2),
    calls: int = 200,
    warmup: int = 10,
    rounds: int = 4,
) -> list[dict[str, object]]:
    """Return one row per batch size, candidate and number of threads, in that order; keys are LATENCY_COLUMNS.

    A row has `calls` timed calls or slightly more, spread over `rounds` fresh processes, each with `warmup` untimed
    calls. `calls_of`, `rounds_of` and `warmup_of` lower these numbers for some rows. `cold_start_s` is the median
    over the processes, `peak_rss_mb` the maximum; `p50_low_ms` and `p50_high_ms` are the lowest and the highest median
    of one process. Rows for which `is_timed` is False are skipped. A candidate that fails in an engine in MAY_FAIL is
    left out, with a warning.

    Raises:
        UserError: a file is missing, or a process of another engine fails; the message ends with the process's last
            output.
    """
    for candidate in candidates:
        if not candidate.path.exists():
            raise UserError(f"{candidate.path} does not exist, so {candidate.model} cannot be timed; export it first")
    rows: list[dict[str, object]] = []
    for batch_size in batch_sizes:
        settings = [
            (candidate, batch_size, count)
            for candidate in candidates
            for count in threads
            if is_timed(candidate, batch_size, count, quoted_threads(threads))
        ]
        samples, failed = sample_rounds(settings, calls, warmup_of(batch_size, warmup), rounds)
        rows += [
            latency_row(*setting, setting_samples)
            for setting, setting_samples in zip(settings, samples, strict=True)
            if setting[0] not in failed
        ]
        candidates = [candidate for candidate in candidates if candidate not in failed]
    return rows


def measure_speedups(
    candidates: Sequence[Candidate], threads: Sequence[int], calls: int, rounds: int, warmup: int = 10
) -> list[dict[str, object]]:
    """As `measure_candidates`, for ONNX files and batches of one image. Each row also has `times_as_fast`.

    `times_as_fast` is the speed relative to the first candidate: the median over the rounds of the ratio of two
    processes that ran shortly after each other. A shared machine has fast and slow minutes, and this ratio depends
    less on them than the ratio of the medians over all processes.
    """
    settings = [(candidate, 1, count) for candidate in candidates for count in threads]
    samples, _ = sample_rounds(settings, calls, warmup, rounds)
    medians = np.array([[np.median(process.call_ms) for process in processes] for processes in samples])
    return [
        {
            **latency_row(*setting, samples[index]),
            "times_as_fast": float(np.median(medians[index % len(threads)] / medians[index])),
        }
        for index, setting in enumerate(settings)
    ]


def is_timed(candidate: Candidate, batch_size: int, threads: int, quoted: int) -> bool:
    """Return True if this row is measured. PyTorch takes seconds to import, and much longer to compile a network.

    The student is timed at every setting, as ONNX files and in PyTorch. Its compiled form must be compiled again for
    every setting, so it is timed only with one image and the quoted number of threads. Teachers are timed with one
    image at every number of threads. Larger batches are timed up to 8 images, or with the quoted number of threads; in
    PyTorch both must hold.
    """
    if candidate.engine == "torch_compile":
        return (batch_size, threads) == (1, quoted)
    if candidate.kind != "teacher" or batch_size == 1:
        return True
    if candidate.engine == "torch":
        return batch_size <= TEACHERS_BATCH and threads == quoted
    return batch_size <= TEACHERS_BATCH or threads == quoted


def rounds_of(candidate: Candidate, batch_size: int, rounds: int) -> int:
    """Return how many fresh processes time a row.

    A process may be faster than another for its whole life, depending on where its memory and threads are placed.
    The reports quote the time of one image in an ONNX file, so these rows are timed in every round, others in two.
    """
    return rounds if batch_size == 1 and candidate.engine in ONNX_ENGINES else min(rounds, FEW_ROUNDS)


def calls_of(candidate: Candidate, batch_size: int, calls: int) -> int:
    """Return the timed calls of a row: `calls`, or in PyTorch calls / batch size, but at least 30."""
    return calls if candidate.engine in ONNX_ENGINES else max(calls // batch_size, min(calls, LEAST_CALLS))


def warmup_of(batch_size: int, warmup: int) -> int:
    """Return the untimed calls of a process: warmup / batch size, but at least 2."""
    return max(warmup // batch_size, min(warmup, LEAST_WARMUP))


def sample_rounds(
    settings: Sequence[tuple[Candidate, int, int]], calls: int, warmup: int, rounds: int
) -> tuple[list[list[Samples]], set[Candidate]]:
    """Return the samples of each (candidate, batch size, threads), and the candidates of MAY_FAIL that failed."""
    samples: list[list[Samples]] = [[] for _ in settings]
    failed: set[Candidate] = set()
    for round_number in range(rounds):
        # Every second round runs in reverse order, so that a linear drift cancels.
        order = range(len(settings)) if round_number % 2 == 0 else reversed(range(len(settings)))
        for index in order:
            candidate, batch_size, _ = settings[index]
            processes = rounds_of(candidate, batch_size, rounds)
            if candidate in failed or round_number >= processes:
                continue
            calls_per_process = math.ceil(calls_of(candidate, batch_size, calls) / processes)
            try:
                samples[index].append(run_fresh(_job(*settings[index], calls_per_process, warmup)))
            except UserError as error:
                if candidate.engine not in MAY_FAIL:
                    raise
                failed.add(candidate)
                log.warning(
                    "latency: %s (%s graph) in %s failed and is left out: %s",
                    candidate.model, candidate.inputs.graph, candidate.engine, cause_of(str(error)),
                )  # fmt: skip
        log.info("latency: round %d of %d", round_number + 1, rounds)
    return samples, failed


def cause_of(stderr: str) -> str:
    """Return the last exception in a process's error output: from the line that names it to the next blank line."""
    starts = [match.start() for match in re.finditer(r"^[\w.]+: ", stderr, flags=re.MULTILINE)]
    exception = stderr[starts[-1] if starts else 0 :].partition("\n\n")[0]
    return " ".join(exception.split())[:LONGEST_CAUSE]


def run_fresh(job: Job) -> Samples:
    """Run a job in its own process. Raises UserError with the end of the process's error output if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.run(
            [sys.executable, "-P", "-m", "decant.timing.process", json.dumps(asdict(job))],
            # An empty cache: code that an earlier process compiled would make the start warm.
            env=child_environment(job.threads) | {"TORCHINDUCTOR_CACHE_DIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if process.returncode:
        raise UserError(f"{job.path}: timing it in {job.engine} failed:\n{process.stderr.strip()[-800:]}")
    return Samples(**json.loads(process.stdout))


def child_environment(threads: int) -> dict[str, str]:
    """Return the environment of a timing process: the same package, `threads` threads, no settings of training."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    paths = [str(Path(decant.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return environment | {
        "OMP_NUM_THREADS": str(threads),
        decant.UNTUNED: "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def latency_row(candidate: Candidate, batch_size: int, threads: int, samples: Sequence[Samples]) -> dict[str, object]:
    """Return one row of the table from the samples of all rounds."""
    call_ms = np.concatenate([np.asarray(process.call_ms) for process in samples])
    p50, p90, p99 = np.percentile(call_ms, [50, 90, 99])
    medians = [float(np.median(process.call_ms)) for process in samples]
    return {
        "model": candidate.model,
        "kind": candidate.kind,
        "engine": candidate.engine,
        "precision": candidate.dtype,
        "graph": candidate.inputs.graph,
        "input_px": size_text(candidate.inputs.input_px),
        "batch_size": batch_size,
        "threads": threads,
        "cold_start_s": float(np.median([process.cold_start_s for process in samples])),
        "p50_ms": float(p50),
        "p90_ms": float(p90),
        "p99_ms": float(p99),
        "images_per_second": float(batch_size * 1000 / call_ms.mean()),
        "params_millions": candidate.params_millions,
        "gmacs": candidate.gmacs,
        "file_mb": file_mb(candidate.path),
        "peak_rss_mb": max(process.peak_rss_mb for process in samples),
        "calls": len(call_ms),
        "processes": len(samples),
        "p50_low_ms": min(medians),
        "p50_high_ms": max(medians),
    }


def ensemble_rows(
    rows: Sequence[Mapping[str, object]], teachers: Sequence[str], name: str = "ensemble"
) -> list[dict[str, object]]:
    """Return the rows of the ensemble: the sum over its teachers, each in its fastest engine, without test-time
    augmentation.

    There is one row per graph, batch size and number of threads at which every teacher was timed. A sum of
    percentiles bounds the ensemble's percentile only roughly; the sum of peak memory is an upper bound. `input_px` is
    the largest; `engine` is `mixed` if the teachers have different engines.

    Args:
        rows: rows of `measure_candidates`.
        teachers: names of the models with a weight above 0.
    """
    fastest: dict[tuple[object, ...], dict[object, Mapping[str, object]]] = {}  # setting -> teacher -> row
    for row in rows:
        if row["model"] in teachers:
            row_of = fastest.setdefault((row["graph"], row["batch_size"], row["threads"]), {})
            best = row_of.get(row["model"])
            if best is None or value_of(row, "p50_ms") < value_of(best, "p50_ms"):
                row_of[row["model"]] = row
    return [
        _summed(name, [row_of[teacher] for teacher in teachers])
        for row_of in fastest.values()
        if len(row_of) == len(set(teachers))
    ]


def _summed(name: str, rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    total = dict.fromkeys(LATENCY_COLUMNS, None) | dict(rows[0]) | {"model": name, "kind": "ensemble"}
    for column in ("engine", "precision"):
        total[column] = rows[0][column] if len({row[column] for row in rows}) == 1 else "mixed"
    total["input_px"] = max((str(row["input_px"]) for row in rows), key=pixels_of)
    for column in ("calls", "processes"):
        total[column] = min(int(value_of(row, column)) for row in rows)
    total["images_per_second"] = 1 / sum(1 / value_of(row, "images_per_second") for row in rows)
    for column in SUMMED_COLUMNS:
        known = all(row[column] is not None for row in rows)
        total[column] = sum(value_of(row, column) for row in rows) if known else None
    return total


def pixels_of(size: str) -> int:
    """The number of pixels of a size in the table: `128` or `96x176`."""
    sides = [int(side) for side in size.split("x")]
    return sides[0] * sides[-1]


def network_cost(checkpoint: Path) -> tuple[float, float]:
    """Return (parameters in millions, multiply-adds for one image in billions) of a checkpoint's network."""
    from decant.models.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    return count_cost(loaded.classifier, loaded.preprocessing.input_px)


def count_cost(network, input_px: InputPx) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """As `network_cost`, for a torch module that takes [1, 3, *input_px].

    Multiply-adds are half of the floating-point operations that torch counts in convolutions and matrix products;
    normalisation, activations and resizing are not counted.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    counter = FlopCounterMode(display=False)
    # The counter does not count the fused attention of every device; plain attention is two matrix products.
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(torch.zeros(1, 3, *height_width(input_px)))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return parameters / 1e6, counter.get_total_flops() / 2 / 1e9


def file_mb(path: Path) -> float:
    """Return the size of an ONNX file, or of the weights in a checkpoint's folder, in MB (10⁶ bytes)."""
    return (path if path.is_file() else path / "model.safetensors").stat().st_size / MEGABYTE


def _job(candidate: Candidate, batch_size: int, threads: int, calls: int, warmup: int) -> Job:
    return Job(
        engine=candidate.engine,
        path=str(candidate.path.resolve()),
        inputs=candidate.inputs,
        batch_size=batch_size,
        threads=threads,
        calls=calls,
        warmup=warmup,
    )


def value_of(row: Mapping[str, object], column: str) -> float:
    """Return the number in a cell."""
    return float(row[column])  # type: ignore[arg-type]  # callers read only columns with numbers
