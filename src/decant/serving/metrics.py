"""Counts and times of the app in the text format of Prometheus (version 0.0.4)."""

import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

Labels = tuple[tuple[str, str], ...]
HELP = {
    "decant_requests_total": "Requests by address and status.",
    "decant_images_total": "Images by model and outcome.",
    "decant_request_seconds": "Time from a received request to its response.",
    "decant_batches_total": "Computed batches by their number of images.",
    "decant_waiting_images": "Decoded images that wait for a prediction.",
    "decant_model_loads_total": "How often a model's file was loaded.",
    "decant_model_fault": "1 if the newest file of a model cannot be served and an older one is.",
    "process_start_time_seconds": "Start of the process since 1970.",
    "process_resident_memory_bytes": "Memory of the process.",
}
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters, and the histogram of the time of requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, Labels]] = Counter()
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._seconds = 0.0

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Increase the counter with these labels."""
        with self._lock:
            self._counts[name, tuple(labels.items())] += by

    def observe(self, seconds: float) -> None:
        """Add the time of one request to the histogram."""
        with self._lock:
            self._buckets[bisect_left(BUCKETS_S, seconds)] += 1
            self._seconds += seconds

    def text(self, now: Mapping[tuple[str, Labels], float]) -> str:
        """All metrics. now: values that are read at this moment, by name and labels."""
        with self._lock:
            values = {**self._counts, **now}
            buckets, seconds = list(self._buckets), self._seconds
        lines: list[str] = []
        for name in sorted({name for name, _ in values}):
            lines += heading(name, "counter" if name.endswith("_total") else "gauge")
            rows = sorted((labels, value) for (other, labels), value in values.items() if other == name)
            lines += [f"{name}{braces(labels)} {value}" for labels, value in rows]
        return "\n".join([*lines, *histogram("decant_request_seconds", buckets, seconds), ""])


def histogram(name: str, buckets: list[int], seconds: float) -> list[str]:
    """The lines of a histogram, whose buckets count everything up to their limit."""
    lines, total = heading(name, "histogram"), 0
    for limit, count in zip([*map(str, BUCKETS_S), "+Inf"], buckets, strict=True):
        total += count
        lines.append(f'{name}_bucket{{le="{limit}"}} {total}')
    return [*lines, f"{name}_sum {seconds}", f"{name}_count {total}"]


def heading(name: str, kind: str) -> list[str]:
    return [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}"]


def braces(labels: Labels) -> str:
    """The labels as {a="b"}, with the three characters escaped that the format requires."""
    if not labels:
        return ""
    escaped = ((key, text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for key, text in labels)
    return "{" + ",".join(f'{key}="{text}"' for key, text in escaped) + "}"


def resident_bytes() -> int:
    """Memory of this process; 0 where Linux's /proc is missing."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGESIZE")
