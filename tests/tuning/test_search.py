"""The trials of a search: their order, their locks, and what a killed process leaves."""

import multiprocessing
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from decant.study import Teacher
from decant.tuning.search import NLL, Search, next_trial, open_search, parameters_of
from decant.tuning.space import Space

LINES = "learning_rate: {times: [0.1, 10], log: true}\nhead: {choices: [random, probe]}"
SpaceOf = Callable[..., Space]
Opened = Callable[..., Search]


@pytest.fixture
def opened(space_of: SpaceOf, tmp_path: Path) -> Opened:
    """A function that opens the search in one folder of the test."""
    return lambda lines=LINES, mark="mark", seed=1: open_search(tmp_path / "search", mark, space_of(lines), seed, 8)


def finish(search: Search, value: float, epochs: int = 0, nll: float = 1.0) -> dict[str, Any]:
    """Run the next trial with this value after each epoch and at the end; returns its parameters."""
    with next_trial(search, None) as trial:
        assert trial is not None
        for epoch in range(1, epochs + 1):
            trial.report(value, epoch)
        trial.set_user_attr(NLL, nll)
        search.study.tell(trial, value)
        return parameters_of(search, trial)


def test_the_first_trial_is_the_recipe_and_the_others_are_not(opened: Opened) -> None:
    search = opened()
    tried = [finish(search, 0.5) for _ in range(3)]
    assert tried[0] == search.space.recipe == {"learning_rate": Teacher().learning_rate, "head": "random"}
    assert len({values["learning_rate"] for values in tried}) == 3


def test_a_search_that_is_opened_again_draws_what_one_process_would_have_drawn(
    opened: Opened, space_of: SpaceOf, tmp_path: Path
) -> None:
    whole = open_search(tmp_path / "whole", "mark", space_of(LINES), 1, 8)
    expected = [finish(whole, 0.1 * number) for number in range(8)]  # more than are drawn at random
    assert [finish(opened(), 0.1 * number) for number in range(8)] == expected


def test_another_seed_draws_other_trials(opened: Opened) -> None:
    first, second = ([finish(opened(mark=f"mark{seed}", seed=seed), 0.5) for _ in range(2)] for seed in (1, 2))
    assert first[0] == second[0] and first[1] != second[1]


def test_trials_that_run_at_the_same_time_are_different_and_count_together(opened: Opened) -> None:
    with ExitStack() as stack:
        trials = [stack.enter_context(next_trial(opened(), 3)) for _ in range(4)]
    assert [trial and trial.number for trial in trials] == [0, 1, 2, None]


def test_a_trial_that_was_left_is_continued_before_a_new_one_starts(opened: Opened) -> None:
    finish(opened(), 0.5)
    with next_trial(opened(), 5) as left:
        assert left is not None
        parameters = parameters_of(opened(), left)
        left.report(0.4, 1)
    search = opened()
    with next_trial(search, 2) as continued:
        assert continued is not None and continued.number == 1
        assert parameters_of(search, continued) == parameters
        search.study.tell(continued, 0.6)
    with next_trial(search, 2) as none:
        assert none is None
    (trial,) = (trial for trial in search.trials(TrialState.COMPLETE) if trial.number == 1)
    assert trial.intermediate_values == {1: 0.4} and trial.value == 0.6


def hold(folder: Path, space: Space) -> None:
    with next_trial(open_search(folder, "mark", space, 1, 8), None) as trial:
        assert trial is not None
        trial.report(0.4, 1)
        time.sleep(60)


def test_the_trial_of_a_killed_process_is_free_and_that_of_a_living_one_is_not(
    space_of: SpaceOf, tmp_path: Path
) -> None:
    space = space_of(LINES)
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, space))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the child computes nothing
        process.start()
    search = open_search(tmp_path, "mark", space, 1, 8)
    while not any(trial.intermediate_values for trial in search.trials(TrialState.RUNNING)):
        assert process.is_alive()
        time.sleep(0.02)
    with next_trial(search, None) as beside:
        assert beside is not None and beside.number == 1
        search.study.tell(beside, 0.5)
    process.kill()
    process.join()
    with next_trial(search, None) as continued:
        assert continued is not None and continued.number == 0


def test_of_equal_values_the_lower_likelihood_loss_is_the_best(opened: Opened) -> None:
    search = opened()
    assert search.best is None
    for value, nll in ((0.7, 0.4), (0.8, 0.9), (0.8, 0.5), (0.8, 0.6)):
        finish(search, value, nll=nll)
    assert search.best is not None and search.best.number == 2


@pytest.mark.parametrize(
    ("others", "epochs", "value", "pruned"),
    [(4, 2, 0.4, True), (4, 2, 0.7, False), (4, 1, 0.4, False), (3, 2, 0.4, False)],
    ids=["below the median", "above it", "in the first quarter", "too few others"],
)
def test_a_trial_is_pruned_below_the_median_of_enough_others(
    opened: Opened, others: int, epochs: int, value: float, pruned: bool
) -> None:
    search = opened()  # of 8 epochs
    for number in range(others):
        finish(search, 0.6 + 0.01 * number, epochs=8)
    with next_trial(search, None) as trial:
        assert trial is not None
        for epoch in range(1, epochs + 1):
            trial.report(value, epoch)
        assert bool(trial.should_prune()) is pruned
        search.study.tell(trial, value)


def test_the_epochs_without_pruning_are_a_share_of_those_that_are_trained(space_of: SpaceOf, tmp_path: Path) -> None:
    # `minutes` may lower the epochs of the recipe, here 8
    search = open_search(tmp_path / "short", "mark", space_of(LINES), 1, 4)
    for number in range(4):
        finish(search, 0.6 + 0.01 * number, epochs=4)
    with next_trial(search, None) as trial:
        assert trial is not None
        trial.report(0.4, 1)
        assert trial.should_prune()
        search.study.tell(trial, 0.4)


def test_trainings_of_different_lengths_are_not_pruned(opened: Opened) -> None:
    assert isinstance(opened(LINES + "\nepochs: {range: [4, 12]}").study.pruner, optuna.pruners.NopPruner)
