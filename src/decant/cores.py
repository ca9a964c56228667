"""The cores of this process, and how its threads wait for each other.

Not in `decant.machine`, because `predict.py` must run where torch is missing.
"""

import os
import time
from pathlib import Path
from statistics import median

STAT = Path("/proc/stat")
SAMPLES, PAUSE_S = 5, 0.004
SPINS = 10_000  # of libgomp, before a thread that waits falls asleep; its own default is 30 times as many
FEW_SPINS = 1_000  # beside another program
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def usable_cores() -> int:
    """Return how many cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_are_free() -> bool:
    """True if no other program computes and this process may use every core; False if the system does not report it.

    Where the process may use some cores alone, the count of running threads does not say on which cores they run.
    """
    running = []
    try:
        for _ in range(SAMPLES):
            running.append(running_threads())
            time.sleep(PAUSE_S)
    except (OSError, KeyError, ValueError):
        return False
    return median(running) == 1 and usable_cores() == os.cpu_count()


def running_threads() -> int:
    """Threads of the whole machine that run or wait for a core, this one included."""
    counts = dict(line.split(maxsplit=1) for line in STAT.read_text().splitlines())
    return int(counts["procs_running"])


def choose_waiting() -> None:
    """Set the variables by which OpenMP's threads wait, unless the user has set them. Call it before torch is loaded.

    A thread that falls asleep is slow to go on, and a training step waits hundreds of times. But a thread that spins
    takes its core from other programs. So they spin only briefly, and a tenth as long if another program computes now.
    Few spins cost little in both cases: the program that computes now may end long before this one.
    """
    if any(name in os.environ for name in WAITING):
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS if cores_are_free() else FEW_SPINS)
