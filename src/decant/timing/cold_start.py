"""Cold start: the time from starting Python to the first predicted class, step by step."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from decant.errors import UserError
from decant.timing.models import child_environment

STEPS = (
    "interpreter_s", "import_numpy_s", "import_onnxruntime_s", "import_pillow_s", "session_s", "photo_s", "answer_s",
)  # fmt: skip
PROGRAM = Path(__file__).with_name("first_answer.py").resolve()
COLD_START_COLUMNS = ("processes", *STEPS, "total_s", "total_low_s", "total_high_s")


def cold_start_row(model: Path, photo: Path, processes: int) -> dict[str, object]:
    """Return the medians over `processes` fresh processes; keys are COLD_START_COLUMNS.

    model: a full graph; photo: an image file. One more process runs first and is not counted: it brings all files
    into the system's cache. Raises UserError if a process fails.
    """
    seconds = np.array([first_answer_s(model, photo) for _ in range(processes + 1)][1:])  # [processes, steps]
    total = seconds.sum(axis=1)
    return {
        "processes": processes,
        **{step: float(median) for step, median in zip(STEPS, np.median(seconds, axis=0), strict=True)},
        "total_s": float(np.median(total)),
        "total_low_s": float(total.min()),
        "total_high_s": float(total.max()),
    }


def first_answer_s(model: Path, photo: Path) -> list[float]:
    """Return the seconds of each of STEPS in one process; their sum is the time from its start to its prediction."""
    environment = child_environment(1)
    del environment["OMP_NUM_THREADS"]  # users usually do not set it
    start = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), str(model), str(photo)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise UserError(f"{model}: predicting the class of {photo} failed:\n{process.stderr.strip()[-800:]}")
    _, *stamps = process.stdout.split()
    return list(np.diff([start, *map(float, stamps)]))
