"""The number of threads at which reports quote latencies and compare models."""

from collections.abc import Collection

QUOTED_THREADS = 2


def quoted_threads(threads: Collection[int]) -> int:
    """Return QUOTED_THREADS if `threads` contains it, else the largest of them."""
    return QUOTED_THREADS if QUOTED_THREADS in threads else max(threads)
