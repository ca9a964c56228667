"""How OpenMP's threads wait: they spin briefly where the cores are free, else sleep; the user's setting stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from decant import cores
from decant.cores import FEW_SPINS, SPINS, WAITING, choose_waiting, cores_are_free, running_threads


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes after the test what `choose_waiting` has set."""
    for name in WAITING:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, running: int, count: int, usable: int) -> None:
    stat = folder / "stat"
    stat.write_text(f"cpu  1 2 3\nprocesses 77\nprocs_running {running}\nprocs_blocked 0\n")
    monkeypatch.setattr(cores, "STAT", stat)
    monkeypatch.setattr(cores, "usable_cores", lambda: usable)
    monkeypatch.setattr(os, "cpu_count", lambda: count)


@pytest.mark.parametrize(
    "running, count, usable, free",
    [(1, 2, 2, True), (2, 2, 2, False), (1, 1, 1, True), (1, 8, 4, False), (0, 2, 2, False)],
)
def test_cores_are_free_if_this_process_alone_runs_and_may_use_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: int, count: int, usable: int, free: bool
) -> None:
    machine(monkeypatch, tmp_path, running, count, usable)
    assert running_threads() == running and cores_are_free() == free
    choose_waiting()
    expected = {"GOMP_SPINCOUNT": str(SPINS if free else FEW_SPINS)}
    assert {name: os.environ[name] for name in WAITING if name in os.environ} == expected


@pytest.mark.parametrize("content", [None, "", "cpu 1 2\n", "procs_running\n", "procs_running many\n"])
def test_a_system_that_does_not_tell_counts_as_busy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    stat = tmp_path / "stat"
    if content is not None:
        stat.write_text(content)
    monkeypatch.setattr(cores, "STAT", stat)
    choose_waiting()
    assert os.environ["GOMP_SPINCOUNT"] == str(FEW_SPINS)


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "3")
    choose_waiting()
    assert {other: os.environ[other] for other in WAITING if other in os.environ} == {name: "3"}


@pytest.mark.skipif(not cores.STAT.is_file(), reason="the system has no /proc/stat")
def test_a_program_that_computes_is_seen() -> None:
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert max(running_threads() for _ in range(500)) >= 2
    finally:
        spinner.kill()
        spinner.wait()


@pytest.mark.parametrize("untuned", [False, True])
def test_importing_decant_chooses_unless_a_process_times_a_model(untuned: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DECANT_UNTUNED"}
    environment |= {"DECANT_UNTUNED": "1"} if untuned else {}
    command = [sys.executable, "-c", "import decant, os; print(len({*decant.cores.WAITING} & {*os.environ}))"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("0" if untuned else "1")
