"""The machine: its memory allocator, device, fastest precision, and what identifies it beside a number."""

import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEEP_BYTES = 2**31 - 1  # the largest that mallopt's int can say
CPUINFO = Path("/proc/cpuinfo")
# What decides about the speed of int8 and bf16, by the names that Linux gives on x86 and on ARM.
INSTRUCTION_SETS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


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


def faster_dtype(step: Callable[[torch.dtype], Any], repeats: int = 3) -> str:
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
        **cpu(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
        if hasattr(os, "sysconf")
        else None,
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "distribution": distribution_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": version_of("onnxruntime"),
        "openvino": version_of("openvino"),
        "threads": torch.get_num_threads(),
    }


def cpu() -> dict[str, Any]:
    """The processor and what decides there about int8 and bf16: their speed, and how int8 rounds."""
    return {"processor": processor_name(), "instruction_sets": instruction_sets()}


def processor_name() -> str:
    """The processor's model name; the machine type where the system does not tell."""
    return told_by_linux("model name") or platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Which of INSTRUCTION_SETS the processor has; [] where the system does not tell."""
    flags = (told_by_linux("flags") or told_by_linux("Features")).split()  # x86, ARM
    return [name for name in INSTRUCTION_SETS if name in flags]


def told_by_linux(key: str) -> str:
    """A value of /proc/cpuinfo, of the first core that has it; "" if there is none."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


def usable_cores() -> int:
    """The cores that this process may run on, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def distribution_name() -> str:
    """The Linux distribution and its version; "" on other systems."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return ""


def version_of(package: str) -> str:
    """The version of an installed package; "" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
