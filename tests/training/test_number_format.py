"""Training in bf16, and the measurement that chooses the number format."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trainings import CPU, PLAIN, Networks, Tasks, stopping

from decant.training import number_format
from decant.training.loop import train
from decant.training.number_format import measured_dtype


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_loss_falls_in_both_dtypes(network_of: Networks, task_of: Tasks, folder: Path, dtype: str) -> None:
    settings = PLAIN.model_copy(update={"architecture": "test_convnext", "epochs": 6, "label_smoothing": 0.0})
    losses: list[float] = []
    train(
        network_of(settings), task_of(settings), settings, 3, folder, stopping(-1), dtype, CPU,
        lambda row: losses.append(row["loss"]),
    )  # fmt: skip
    assert losses[-1] < losses[0]


def test_measuring_the_dtype_does_not_change_the_network(network_of: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[torch.dtype] = []

    def try_both(step: Callable[[torch.dtype], None]) -> str:
        for dtype in (torch.float32, torch.bfloat16):
            timed.append(dtype)
            step(dtype)
        return "bf16"

    monkeypatch.setattr(number_format, "faster_dtype", try_both)
    monkeypatch.setattr(number_format, "may_have_bf16", lambda device: True)
    network = network_of(PLAIN)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert measured_dtype(network, PLAIN, 3, CPU) == "bf16"
    assert timed == [torch.float32, torch.bfloat16]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_nothing_is_timed_without_bf16_instructions(network_of: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_format, "may_have_bf16", lambda device: False)
    monkeypatch.setattr(number_format, "faster_dtype", lambda step: pytest.fail("a step was timed"))
    assert measured_dtype(network_of(PLAIN), PLAIN, 3, CPU) == "fp32"
