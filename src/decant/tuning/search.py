"""The trials of a search in an SQLite file that several processes share: which is next, and how each one ended.

A process holds the lock of the trial that it trains. If the process is killed, the lock is free and the trial is still
marked as running: the next process continues it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import optuna
from filelock import BaseFileLock, FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState

from decant.seeds import derived_seed
from decant.tuning.space import CategoricalDistribution, IntDistribution, Parameter, Space
from decant.workspace import locked

log = logging.getLogger(__name__)
RANDOM_TRIALS = 5  # before the sampler models their values; Optuna's 10 would be half of a usual search here
UNPRUNED_TRIALS = 4  # with fewer, the median of an epoch is noise
SAFE_SHARE = 0.25  # of the epochs, in which no trial is pruned: warm-up and averaging hide what a trial will reach
OPEN, ENDED = (TrialState.RUNNING,), (TrialState.COMPLETE, TrialState.PRUNED)
NLL, SECONDS, REASON = "val_nll", "seconds", "reason"  # attributes of a trial
SQLITE_WAIT_S = 60


@dataclass(frozen=True)
class Search:
    """A search in progress. folder: of its files. seed: of the sampler. study: Optuna's."""

    folder: Path
    space: Space
    seed: int
    study: optuna.Study

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{self.study.study_name}-{number:03d}"

    @property
    def best(self) -> FrozenTrial | None:
        """The finished trial with the highest metric and, among equal ones, the lowest val_nll; None without any."""
        finished = self.trials(TrialState.COMPLETE)
        return max(finished, key=lambda trial: (trial.value, -trial.user_attrs[NLL]), default=None)


def open_search(folder: Path, mark: str, space: Space, seed: int, epochs: int) -> Search:
    """The search `mark` in `folder`/search.db, continued if it exists; else new, with the recipe as its first trial.

    epochs: of the recipe on this machine, which `minutes` may have lowered.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locked(folder / "search.db"):
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{folder / 'search.db'}", engine_kwargs={"connect_args": {"timeout": SQLITE_WAIT_S}}
        )
        study = optuna.create_study(
            storage=storage, study_name=mark, direction="maximize", load_if_exists=True, pruner=pruner_of(space, epochs)
        )
        if not study.trials:
            study.enqueue_trial(space.recipe)
    return Search(folder, space, seed, study)


def pruner_of(space: Space, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner that stops a trial below the median of the others after the same epoch.

    It stops none if the number of epochs is searched: after the same epoch, a longer training has a higher learning
    rate and looks worse.
    """
    if "epochs" in space.distributions:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(UNPRUNED_TRIALS, n_warmup_steps=ceil(SAFE_SHARE * epochs))


@contextmanager
def next_trial(search: Search, most: int | None) -> Iterator[Trial | None]:
    """Yield an interrupted trial or a new one with its parameters, which no other process has; else None.

    most: the largest number of trials of the search, other processes' trials included; None: no limit.
    """
    with locked(search.folder / "next"):
        trial, lock = interrupted_trial(search) or (None, None)
        if trial is None and (most is None or len(search.trials(*OPEN, *ENDED)) < most):
            trial, lock = new_trial(search)
    try:
        yield trial
    finally:
        if lock is not None:
            lock.release()


def interrupted_trial(search: Search) -> tuple[Trial, BaseFileLock] | None:
    """A running trial that no process trains, with its acquired lock; None if there is none."""
    for frozen in search.trials(*OPEN):
        lock = free_lock(search, frozen.number)
        if lock is not None:
            set_sampler(search, frozen.number)
            # Optuna has no public way to take a running trial up again; its number is not the storage's id.
            trial = Trial(search.study, frozen._trial_id)
            draw(trial, search.space)
            return trial, lock
    return None


def new_trial(search: Search) -> tuple[Trial, BaseFileLock | None]:
    """A new trial with its parameters and its acquired lock."""
    set_sampler(search, len(search.trials(*OPEN, *ENDED)))
    trial = search.study.ask()
    lock = free_lock(search, trial.number)
    draw(trial, search.space)
    return trial, lock


def free_lock(search: Search, number: int) -> BaseFileLock | None:
    """The acquired lock of a trial, or None if another process trains it."""
    folder = search.trial_folder(number)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except NotImplementedError:
        pass  # a disk without locks, of which `locked` has warned
    return lock


def set_sampler(search: Search, number: int) -> None:
    """A sampler per trial: its random numbers depend on seed and number, so a restarted search repeats none."""
    search.study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=RANDOM_TRIALS, seed=derived_seed(search.seed, "trial", number)
    )


def draw(trial: Trial, space: Space) -> None:
    """Draw the parameters that the trial does not have yet."""
    for key, distribution in space.distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            trial.suggest_categorical(key, distribution.choices)
        elif isinstance(distribution, IntDistribution):
            trial.suggest_int(key, distribution.low, distribution.high, log=distribution.log)
        else:
            trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)


def parameters_of(search: Search, trial: Trial | FrozenTrial) -> dict[str, Parameter]:
    """The parameters in the order of the space."""
    return {key: trial.params[key] for key in search.space.distributions}


def reported_epochs(search: Search, number: int) -> set[int]:
    """The epochs after which the trial has reported its metric."""
    return {step for trial in search.trials(*OPEN) if trial.number == number for step in trial.intermediate_values}
