"""Contenders work one turn at a time, in rounds of which every second one is reversed."""

import os
import sys
from pathlib import Path

import pytest

from decant.errors import UserError
from decant.timing.turns import Contender, in_rounds, ratio_cells, running

PROGRAM = """
import sys
from decant.timing.turns import Turns
turns = Turns()
print("noise of a library")
for number in range(2):
    turns.wait()
    open(sys.argv[1], "a").write(sys.argv[2])
    turns.answer(number)
sys.exit("no more photos")
"""


def contender(log: Path, name: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", PROGRAM, str(log), name], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_contenders_take_turns_and_every_second_round_is_reversed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running({name: contender(log, name) for name in "abc"}) as processes:
        answers = in_rounds(processes, 2)
    assert log.read_text() == "abccba"
    assert answers == {name: [0, 1] for name in "abc"}


def test_a_program_that_ends_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with running({"a": contender(tmp_path / "log", "a")}) as (process,):
        in_rounds([process], 2)
        with pytest.raises(UserError, match=r"(?s)times a ended with code 1.*no more photos"):
            process.turn()


def test_closing_ends_what_the_program_started() -> None:
    child = "import time; print(1, flush=True); time.sleep(10_000)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = Contender("a", [sys.executable, "-c", program], os.environ)
    assert process.turn() == 1  # the child has printed it
    process.close()  # it would wait for the child, which has the same output
    assert process._process.poll() is not None


def test_a_ratio_is_the_median_of_the_rounds_with_its_extremes() -> None:
    cells = ratio_cells("to_other", [10.0, 20.0, 60.0], [10.0, 10.0, 20.0])
    assert cells == {"to_other": 2.0, "to_other_low": 1.0, "to_other_high": 3.0}
