"""The processes that `accelerate launch` starts for one script. They share the work of a stage; the first one writes.

Outside `working_together` each process works alone, and waits for no other process. Values are exchanged as tensors and
JSON, never as pickles.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

log = logging.getLogger(__name__)
LONGEST_WAIT = timedelta(days=2)  # for a stage that the first process builds alone


@dataclass(frozen=True)
class Team:
    """Processes that do the same work on different parts. rank: this process, 0 for the first. count: of processes.

    Every process must call the methods that exchange values in the same order.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """True for the process that writes."""
        return self.rank == 0

    @property
    def part(self) -> slice:
        """This process's part of any sequence: every `count`-th item."""
        return slice(self.rank, None, self.count)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes. All must be on one device and of floating point."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view(tensor.shape))

    def whole(self, part: np.ndarray, n: int) -> np.ndarray:
        """The array of n rows, float32 [n, ...], put together from all processes. part: its rows `self.part`."""
        if self.count == 1:
            return part
        rows = np.zeros((n, *part.shape[1:]), dtype=np.float32)
        rows[self.part] = part
        return self.sum(rows)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of the processes' arrays, float32, with the shape of each."""
        if self.count == 1:
            return array
        total = torch.from_numpy(array).to(exchange_device())
        distributed.all_reduce(total)
        return total.cpu().numpy()

    def same(self, value: Any) -> Any:
        """The first process's value, which JSON must be able to express; the others' values are ignored."""
        if self.count == 1:
            return value
        text = json.dumps(value).encode() if self.leads else b""
        length = torch.tensor([len(text)], device=exchange_device())
        distributed.broadcast(length, 0)
        content = torch.zeros(int(length), dtype=torch.uint8, device=exchange_device())
        if self.leads:
            content.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        distributed.broadcast(content, 0)
        return json.loads(bytes(content.cpu().numpy()))

    def wait(self) -> None:
        """Return when every process has called this."""
        self.same(None)


ALONE = Team()
_working: ContextVar[Team] = ContextVar("team", default=ALONE)


@cache
def launched() -> Team:
    """The processes that were started for this script; ALONE without a launcher."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    from accelerate import PartialState  # starts the exchange: NCCL between GPUs, else Gloo

    log.info("%s processes share the work", os.environ["WORLD_SIZE"])
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
    return Team(state.process_index, state.num_processes)


def team() -> Team:
    """The processes that share the present work: all launched ones within `working_together`, else ALONE."""
    return _working.get()


@contextmanager
def working_together() -> Iterator[Team]:
    """Let all launched processes share the work of the block. Each must enter it and do the same, on its own part."""
    token = _working.set(launched())
    try:
        yield launched()
    finally:
        _working.reset(token)


def exchange_device() -> torch.device:
    """Where tensors must be to be exchanged: NCCL reads the memory of GPUs alone."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
