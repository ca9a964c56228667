"""The machine: its memory allocator, device, fastest precision, and what identifies it beside a number."""

import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEEP_BYTES = 2**31 - 1  # the largest that mallopt's int can say


def keep_memory() -> bool:
    """Tell glibc's malloc to keep freed blocks instead of giving them back to the kernel at once.

    A CPU training step frees and takes hundreds of megabytes; with fresh pages each time, page faults cost up
    to a third of it. Returns whether the allocator accepted; other C libraries are left alone.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES))


def device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def faster_precision(step: Callable[[torch.dtype], Any], repeats: int = 3) -> str:
    """ "fp32" or "bf16", whichever runs `step` (called with the autocast dtype) in less time, interleaved.

    bf16 must win by 10 %: depthwise networks are slower in it on CPUs, matrix products are faster.
    """
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    for round_ in range(repeats + 1):
        for dtype in best:
            started = time.perf_counter()
            step(dtype)
            if round_:  # the first round warms up
                best[dtype] = min(best[dtype], time.perf_counter() - started)
    return "bf16" if best[torch.bfloat16] < 0.9 * best[torch.float32] else "fp32"


def description() -> dict[str, Any]:
    """What a reader must know of the machine to place a measured number."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
        if hasattr(os, "sysconf")
        else None,
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def processor_name() -> str:
    """The processor's model name; the machine type where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
