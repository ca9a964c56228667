"""The cores of this process. Not in `decant.machine`, because `predict.py` must run where torch is missing."""

import os


def usable_cores() -> int:
    """Return how many cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
