"""The range test raises the rate from step to step, and its suggestion lies below the rates that diverge."""

import math
from itertools import pairwise

import pytest
from trainings import CPU, PLAIN, Networks, Tasks

from decant.training import rate_range as module
from decant.training.rate_range import HIGHEST_RATE, LOWEST_RATE, rate_range, suggested_rate


def test_rates_rise_by_a_constant_factor(network_of: Networks, task_of: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DIVERGED", math.inf)
    rows = rate_range(network_of(PLAIN), task_of(PLAIN), PLAIN, 1, CPU, steps=10)
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == pytest.approx(LOWEST_RATE) and rates[-1] == pytest.approx(HIGHEST_RATE)
    assert [later / now for now, later in pairwise(rates)] == pytest.approx([1e6 ** (1 / 9)] * 9)


def test_the_loss_falls_before_it_rises(network_of: Networks, task_of: Tasks) -> None:
    settings = PLAIN.model_copy(update={"optimizer": "sgd"})
    rows = rate_range(network_of(settings), task_of(settings), settings, 1, CPU, steps=60)
    suggested = suggested_rate(rows)
    assert LOWEST_RATE < suggested < rows[-1]["learning_rate"] / 5


def test_a_tenth_of_the_rate_with_the_lowest_loss_is_suggested() -> None:
    losses = [2.0, 1.5, 0.9, 1.4, float("nan")]
    rows = [{"learning_rate": 10.0**-n, "loss": 0.0, "smoothed": loss} for n, loss in enumerate(losses)]
    assert suggested_rate(rows) == pytest.approx(1e-3)
