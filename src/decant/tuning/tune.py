"""The search for better settings of one teacher: trials until their number or the time is reached."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState
from pydantic import ValidationError

from decant.errors import UserError
from decant.seeds import derived_seed
from decant.stages.support.experiment import Experiment
from decant.stages.support.features import remove_features
from decant.stages.support.resolve import declaration
from decant.training.resume import remove_resume
from decant.tuning.record import Subject, result_lines, settings_text, trial_line, write_record
from decant.tuning.search import NLL, REASON, SECONDS, Search, next_trial, open_search, parameters_of, reported_epochs
from decant.tuning.space import SPACES, family_of, read_space
from decant.tuning.trial import Stopped, recipe_epochs, recipe_mark, train_trial, val_images
from decant.workspace import fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """When a search ends. trials: of the search, earlier calls included. deadline: of time.monotonic()."""

    trials: int | None = None
    deadline: float = float("inf")

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: COMPLETE with metrics on val, PRUNED with a reason, or RUNNING if it is continued later."""

    state: TrialState
    metrics: dict[str, float]
    reason: str = ""


def tune(experiment: Experiment, name: str, space_file: Path | None, limits: Limits, command: str) -> list[str]:
    """Run trials for the teacher `name` and write their table, figures and best recipe. Returns lines for people.

    space_file: None for the space of the teacher's family. A search with the same teacher, images and space is
    continued. command: the command line, for the headers of the files. Raises UserError for an unknown teacher, a bad
    space, a study without val, and if the recipe itself cannot be trained.
    """
    declaration(experiment, f"teachers/{name}")  # raises for an unknown teacher
    teacher, seed = experiment.study.teachers[name], experiment.study.seed
    path = space_file or SPACES / f"{family_of(teacher)}.yaml"
    space = read_space(path, teacher, experiment.study.name, name)
    subject = Subject(experiment.study.name, name, experiment.study.metric, val_images(experiment), command)
    mark = fingerprint([recipe_mark(experiment, name), str(space)])
    folder = experiment.workspace.folder / "tuning" / name
    search = open_search(folder, mark, space, derived_seed(seed, "tuning", name), recipe_epochs(experiment, name))
    log.info("%s, space %s: %s", name, path, space)
    while not limits.is_over and run_next(experiment, search, subject, limits):
        write_record(search, subject)
    write_record(search, subject, figures=True)
    return result_lines(search, subject)


def run_next(experiment: Experiment, search: Search, subject: Subject, limits: Limits) -> bool:
    """Run one trial to its end; False if there is none to run, or if it is to be continued later."""
    with next_trial(search, limits.trials) as trial:
        if trial is None:
            return False
        log.info("trial %d: %s", trial.number, settings_text(search, trial))
        started = time.monotonic()
        outcome = run_trial(experiment, search, trial, subject, limits)
        earlier = trial.user_attrs.get(SECONDS, 0)
        trial.set_user_attr(SECONDS, round(earlier + time.monotonic() - started, 1))
        if outcome.state == TrialState.RUNNING:
            log.info("trial %d is interrupted: the time is over; the same command continues it", trial.number)
            return False
        tell(search, trial, outcome, subject)
        log.info("%s", trial_line(search, subject, trial.number, limits.trials))
        return True


def tell(search: Search, trial: Trial, outcome: Outcome, subject: Subject) -> None:
    """Store how a trial ended, and delete the files that it would need to continue."""
    trial.set_user_attr(REASON, outcome.reason)
    if outcome.state == TrialState.COMPLETE:
        trial.set_user_attr(NLL, outcome.metrics[NLL])
        search.study.tell(trial, outcome.metrics[subject.metric_on_val])
    else:
        search.study.tell(trial, state=TrialState.PRUNED)
    remove_resume(search.trial_folder(trial.number))
    remove_features(search.trial_folder(trial.number))


def run_trial(experiment: Experiment, search: Search, trial: Trial, subject: Subject, limits: Limits) -> Outcome:
    """Train a trial. Raises UserError if the recipe itself cannot be trained; any other trial is then PRUNED."""
    folder, job = search.trial_folder(trial.number), f"trial{trial.number}"
    known = reported_epochs(search, trial.number)
    stops: list[Outcome] = []

    def after_epoch(row: dict[str, Any], epochs: int) -> None:
        if row["epoch"] not in known:  # a killed process may have reported it
            trial.report(row[subject.metric_on_val], row["epoch"])
        stops.extend(stop_of(trial, row["epoch"], limits) if row["epoch"] < epochs else [])
        if stops:
            raise Stopped

    try:
        teacher = search.space.teacher(parameters_of(search, trial))
        metrics = train_trial(experiment, subject.teacher, teacher, folder, after_epoch, job)
    except (UserError, ValidationError) as error:
        if trial.number == 0:
            raise
        return Outcome(TrialState.PRUNED, {}, " ".join(str(error).split()))
    return stops[0] if metrics is None else Outcome(TrialState.COMPLETE, metrics)


def stop_of(trial: Trial, epoch: int, limits: Limits) -> list[Outcome]:
    """How the trial ends after this epoch; empty if it goes on."""
    if trial.should_prune():
        return [Outcome(TrialState.PRUNED, {}, f"below the median of the other trials after epoch {epoch}")]
    return [Outcome(TrialState.RUNNING, {})] if limits.is_over else []
