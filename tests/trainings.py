"""Short trainings of small networks, for the tests of the training loop."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from decant.models.classifier import Classifier
from decant.study import Training
from decant.training.loop import Evaluate, Task, train

CPU = torch.device("cpu")
PLAIN = Training(
    architecture="test_efficientnet",
    input_px=32,
    epochs=3,
    batch_size=8,
    learning_rate=2e-3,
    warmup_epochs=0.5,
    weight_decay=0.05,
    dtype="fp32",
)
Networks = Callable[..., Classifier]
Tasks = Callable[..., Task]


class Stopped(Exception):
    """Replaces a kill: only saved state remains."""


def stopping(call: int) -> Evaluate:
    """An evaluation that raises Stopped at its `call`-th call, before that epoch is saved; never for -1."""
    calls = 0

    def evaluate(classifier: Classifier) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Stopped
        return {"val_accuracy": 0.5}

    return evaluate


def run(
    network: Classifier, task: Task, settings: Training, folder: Path, evaluate: Evaluate | None = None, seed: int = 3
) -> tuple[Classifier, list[dict[str, Any]]]:
    """The network to use and the tracked rows."""
    tracked: list[dict[str, Any]] = []
    used = train(network, task, settings, seed, folder, evaluate or stopping(-1), CPU, tracked.append)
    return used, tracked


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same(network: Classifier, other: Classifier) -> None:
    state = other.state_dict()
    assert [key for key, value in network.state_dict().items() if not torch.equal(value, state[key])] == []
