"""Learning rates, input sizes and frozen layers over a training, against values worked out by hand."""

import math
from itertools import pairwise

import pytest
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from decant.study import Training
from decant.training.schedule import LOWEST, frozen_at, mean_area, rate_at, size_at


def rates(steps: int, **settings: object) -> list[float]:
    """The rates of a training of one epoch."""
    return [rate_at(Training.model_validate(settings), step, steps, steps) for step in range(steps)]


def test_the_rate_rises_linearly_to_its_peak() -> None:
    assert rates(20, warmup_epochs=0.2)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_the_rate_falls_as_a_half_cosine() -> None:
    found = rates(20, warmup_epochs=0.2)
    assert found[4 + 4] == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert found[4 + 8] == pytest.approx(0.5)
    assert found[4 + 12] == pytest.approx(0.5 * (1 - math.sqrt(0.5)))


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert rates(10, warmup_epochs=0)[0] == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "cyclic", "one_cycle"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 1), (5, 1), (3, 3)])
def test_the_rate_of_short_trainings_is_in_range(schedule: str, steps: int, warmup: int) -> None:
    assert all(0 < rate <= 1 for rate in rates(steps, schedule=schedule, warmup_epochs=warmup))


def test_one_cycle_is_that_of_torch() -> None:
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=101, div_factor=1 / LOWEST, final_div_factor=1e9)
    expected = []
    for _ in range(100):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    found = [rate_at(Training(schedule="one_cycle"), step, 100, 10) for step in range(100)]
    assert found == pytest.approx(expected, abs=0.03)  # torch's peak lies at 0.3 of the steps less one


def test_the_peaks_of_a_cyclic_schedule_halve() -> None:
    found = rates(400, schedule="cyclic", warmup_epochs=0)
    peaks = [found[i] for i in range(1, 399) if found[i - 1] < found[i] > found[i + 1]]
    assert peaks == pytest.approx([1, 0.5, 0.25, 0.125])


def test_the_input_grows_over_sixty_percent_of_the_epochs() -> None:
    settings = Training(input_px=128, grow_from=0.5, epochs=10)
    assert [size_at(settings, epoch) for epoch in range(10)] == [64, 80, 80, 96, 112, 112, 128, 128, 128, 128]


def test_small_inputs_grow_in_small_steps() -> None:
    settings = Training(input_px=32, grow_from=0.75, epochs=10)
    assert [size_at(settings, epoch) for epoch in range(10)] == [24, 24, 28, 28, 28, 32, 32, 32, 32, 32]


def test_the_mean_area_is_that_of_all_epochs() -> None:
    settings = Training(input_px=128, grow_from=0.5, epochs=10)
    sides = [64, 80, 80, 96, 112, 112, 128, 128, 128, 128]
    assert mean_area(settings) == pytest.approx(sum(side**2 for side in sides) / (10 * 128**2))


def test_a_rectangle_grows_on_both_sides() -> None:
    settings = Training(input_px=(96, 192), grow_from=0.5, epochs=10)
    assert size_at(settings, 0) == (48, 96) and size_at(settings, 9) == (96, 192)


def test_the_input_is_constant_by_default_and_keeps_odd_sides() -> None:
    assert {size_at(Training(input_px=100), epoch) for epoch in range(10)} == {100}
    grown = [size_at(Training(input_px=100, grow_from=0.6), epoch) for epoch in range(10)]
    assert grown[-1] == 100 and all(now <= later for now, later in pairwise(grown))


def test_layers_are_unfrozen_from_the_head_to_the_stem() -> None:
    settings = Training(unfreeze_epochs=[1, 2, 1], epochs=6)
    assert [frozen_at(settings, epoch) for epoch in range(6)] == [1, 0.5, 0.5, 0.25, 0, 0]


def test_frozen_layers_stay_frozen() -> None:
    settings = Training(unfreeze_epochs=[1, 1], frozen_layers=0.4, epochs=4)
    assert [frozen_at(settings, epoch) for epoch in range(4)] == [1, 0.5, 0.4, 0.4]
