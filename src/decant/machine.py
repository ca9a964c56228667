"""The machine: memory allocator, device, fastest number format, and the description that measurements need."""

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

from decant.cores import usable_cores

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEEP_BYTES = 2**31 - 1  # the largest value of mallopt's int
CPUINFO = Path("/proc/cpuinfo")
# They decide the speed of int8 and bf16. Linux uses these names on x86 and ARM.
INSTRUCTION_SETS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


def keep_memory() -> bool:
    """Tell glibc's malloc to keep freed memory instead of returning it to the kernel at once.

    A training step on the CPU frees and allocates hundreds of megabytes. With new pages each time, page faults take up
    to a third of the step. Returns True if the allocator accepted; other C libraries are not changed.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES))


def device() -> torch.device:
    """Return the first GPU, or the CPU if there is no GPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def may_have_bf16(device: torch.device) -> bool:
    """Return False for a CPU that is known to lack bf16 instructions.

    There a bf16 step takes many times as long as one in fp32, so that timing it costs more than it could save.
    """
    sets = instruction_sets()
    return device.type != "cpu" or not sets or any("bf16" in name for name in sets)


def faster_dtype(step: Callable[[torch.dtype], Any], repeats: int = 3) -> str:
    """Return "fp32" or "bf16": the format in which `step` (called with the autocast dtype) takes less time.

    Both are run in turn. bf16 must be 10 % faster: on CPUs it makes matrix products faster and depthwise convolutions
    slower.
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
    """Return the facts about the machine that a reader of a measured number needs."""
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
    """Return the processor's name and the instruction sets that decide the speed of int8 and bf16."""
    return {"processor": processor_name(), "instruction_sets": instruction_sets()}


def processor_name() -> str:
    """Return the processor's model name, or the machine type if the system does not list the name."""
    return cpuinfo_value("model name") or platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Return the INSTRUCTION_SETS that the processor has; [] if the system does not list them."""
    flags = (cpuinfo_value("flags") or cpuinfo_value("Features")).split()  # x86, ARM
    return [name for name in INSTRUCTION_SETS if name in flags]


def cpuinfo_value(key: str) -> str:
    """Return the value of a key in /proc/cpuinfo, from the first core that has it; "" if no core has it."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


def distribution_name() -> str:
    """Return the Linux distribution and its version; "" on other systems."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return ""


def version_of(package: str) -> str:
    """Return the version of an installed package; "" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
