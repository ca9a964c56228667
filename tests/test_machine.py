"""The machine: allocator, device, dtype, description."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch

from decant import cores, machine

GLIBC = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"
MAPPED_BLOCKS = """
import ctypes
from decant.machine import keep_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc.mallinfo.restype = Mallinfo

def mapped(size):
    before = libc.mallinfo().hblks
    block = libc.malloc(size)
    after = libc.mallinfo().hblks
    libc.free(block)
    return after - before

print(mapped(200 << 20), keep_memory(), mapped(200 << 20))
"""


@pytest.mark.skipif(not GLIBC, reason="glibc's own settings")
def test_after_keep_memory_a_large_block_is_no_longer_mapped_afresh_from_the_kernel(repository):
    done = subprocess.run(
        [sys.executable, "-c", MAPPED_BLOCKS],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "True", "0"]


@pytest.mark.parametrize(("system", "libc"), [("darwin", ""), ("win32", ""), ("linux", "musl")])
def test_other_c_libraries_are_left_alone(monkeypatch, system, libc):
    monkeypatch.setattr(machine.sys, "platform", system)
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: pytest.fail("asked a C library that it does not know"))
    assert machine.keep_memory() is False


class Clock:
    """Time that only a step lets pass."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(machine.time, "perf_counter", lambda: self.now)

    def step_taking(self, seconds_of):
        calls = {torch.float32: 0, torch.bfloat16: 0}

        def step(dtype):
            self.now += seconds_of(dtype, calls[dtype])
            calls[dtype] += 1

        return step


@pytest.mark.parametrize(
    ("bf16_s", "chosen"), [(0.5, "bf16"), (0.89, "bf16"), (0.91, "fp32"), (1.0, "fp32"), (2.0, "fp32")]
)
def test_bf16_is_chosen_only_where_it_saves_a_tenth(monkeypatch, bf16_s, chosen):
    step = Clock(monkeypatch).step_taking(lambda dtype, call: bf16_s if dtype == torch.bfloat16 else 1.0)
    assert machine.faster_dtype(step) == chosen


def test_the_choice_of_precision_survives_a_slow_first_step_and_a_disturbed_round(monkeypatch):
    def seconds_of(dtype, call):
        usual = 0.5 if dtype == torch.bfloat16 else 1.0
        return usual + (9.0 if dtype == torch.bfloat16 and call in (0, 2) else 0.0)

    assert machine.faster_dtype(Clock(monkeypatch).step_taking(seconds_of)) == "bf16"


def test_a_fast_first_step_decides_nothing(monkeypatch):
    step = Clock(monkeypatch).step_taking(lambda dtype, call: 0.0 if dtype == torch.bfloat16 and call == 0 else 1.0)
    assert machine.faster_dtype(step) == "fp32"


@pytest.mark.parametrize(
    ("sets", "kind", "may"),
    [
        (["avx2"], "cpu", False), (["avx2", "avx512_vnni"], "cpu", False), (["avx2", "amx_bf16"], "cpu", True),
        (["asimddp", "bf16"], "cpu", True), ([], "cpu", True), (["avx2"], "cuda", True),
    ],
)  # fmt: skip
def test_bf16_is_ruled_out_only_on_a_cpu_known_to_lack_it(monkeypatch, sets, kind, may):
    monkeypatch.setattr(machine, "instruction_sets", lambda: sets)
    assert machine.may_have_bf16(torch.device(kind)) is may


@pytest.mark.parametrize(("available", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_is_taken_where_there_is_one(monkeypatch, available, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert machine.device().type == kind


def test_the_description_can_be_stored_and_places_a_number():
    told = json.loads(json.dumps(machine.description()))
    assert told["processor"] and told["system"].startswith(platform.system())
    assert told["torch"] == torch.__version__ and told["python"] == platform.python_version()
    assert told["threads"] == torch.get_num_threads() and told["cores"] == os.cpu_count()
    assert told["onnxruntime"] == onnxruntime.__version__


X86 = "processor\t: 0\nmodel name\t: A: B\nflags\t\t: fpu avx2 avx512_vnni amx_int8x amx_bf16\n\nmodel name\t: C\n"
ARM = "processor\t: 0\nFeatures\t: fp asimddp sve2 i8mm bf16\n"


@pytest.mark.parametrize(
    ("text", "name", "sets"),
    [
        (X86, "A: B", ["avx2", "avx512_vnni", "amx_bf16"]),
        (ARM, platform.processor() or platform.machine(), ["asimddp", "i8mm", "bf16"]),
    ],
)
def test_the_instruction_sets_for_int8_and_bf16_are_told(monkeypatch, tmp_path, text, name, sets):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.processor_name() == name
    assert machine.instruction_sets() == sets


def test_what_the_system_does_not_tell_is_empty(monkeypatch, tmp_path):
    def unknown():
        raise OSError

    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(machine.platform, "freedesktop_os_release", unknown)
    assert machine.instruction_sets() == [] and machine.distribution_name() == ""
    assert machine.version_of("no-such-package") == ""


def test_usable_cores_are_those_that_the_process_may_run_on(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert cores.usable_cores() == 3
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: None)
    assert cores.usable_cores() == 1


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="no /proc")
def test_memory_is_told_in_gibibytes():
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert machine.description()["memory_gb"] == pytest.approx(kib / 2**20, abs=0.6)


def test_a_machine_without_cpuinfo_still_has_a_name(monkeypatch):
    monkeypatch.setattr(machine.Path, "is_file", lambda self: False)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert machine.processor_name() == platform.machine()
