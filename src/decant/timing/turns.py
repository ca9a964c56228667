"""Processes that work one turn at a time, so that contenders with other settings of threads and memory alternate.

The speed of a machine drifts. Contenders that alternate are affected equally. A fresh process per turn, as in
`decant.timing.models`, would spend more time on imports than a turn takes, and the first steps of a process are slow.
So every contender has a process that lives for several turns and waits between them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from decant.errors import UserError

LAST_OUTPUT = 800  # characters of a failed process's error output


class Contender:
    """A running program that answers each line of its input with one line of JSON; see `Turns`."""

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(environment),
            text=True,
            process_group=0,  # with the processes that it starts, so that close() ends all of them
        )

    def turn(self) -> Any:
        """Let the program work for one turn and return its answer. Raises UserError if the program ends instead."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # the program has ended; then there is no answer to read
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            code = self._process.wait()
            self._errors.seek(0)
            last_output = self._errors.read().decode(errors="replace").strip()[-LAST_OUTPUT:]
            raise UserError(f"the process that times {self.name} ended with code {code}:\n{last_output}")
        return json.loads(answer)

    def close(self) -> None:
        """End the program and the processes that it started, also in the middle of a turn."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._errors.close()


class Turns:
    """The program's side of the protocol. All else that it prints to standard output goes to standard error."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def wait(self) -> None:
        """Wait for the next turn. Raises SystemExit if there is none."""
        if not sys.stdin.readline():
            raise SystemExit

    def answer(self, value: Any) -> None:
        self._answers.write(json.dumps(value) + "\n")
        self._answers.flush()


@contextmanager
def running(contenders: Mapping[str, tuple[Sequence[str], Mapping[str, str]]]) -> Iterator[list[Contender]]:
    """The contenders' processes within the block. contenders: name -> words of the command, environment."""
    with ExitStack() as stack:
        processes = []
        for name, (words, environment) in contenders.items():
            processes.append(Contender(name, words, environment))
            stack.callback(processes[-1].close)
        yield processes


def in_rounds(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Any]]:
    """The answers of each contender, one per round. Every second round runs in reverse order."""
    results: dict[str, list[Any]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders[:: 1 if number % 2 == 0 else -1]:
            results[contender.name].append(contender.turn())
    return results


def ratio_cells(column: str, numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, float]:
    """The rounds' ratios: the median as `column`, the smallest and the largest as `column`_low and `column`_high.

    The two values of a round were measured shortly after each other, so their ratio depends little on a drift.
    """
    ratios = np.asarray(numerators) / np.asarray(denominators)
    return {
        column: float(np.median(ratios)),
        f"{column}_low": float(ratios.min()),
        f"{column}_high": float(ratios.max()),
    }
