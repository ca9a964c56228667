"""The files of a search for people: trials.csv, two figures and the best settings as a recipe."""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from textwrap import wrap
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, Trial, TrialState

from decant.reporting.search_figures import Point, importance_bars, search_history
from decant.study import non_defaults
from decant.study_files import ROOT
from decant.tuning.search import ENDED, NLL, OPEN, REASON, SECONDS, Search, parameters_of
from decant.tuning.space import Parameter, nested, stored, with_settings
from decant.workspace import locked, replacing, write_csv

STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.RUNNING: "unfinished"}
LINE = 118  # characters of a line in a recipe
LEAST_TRIALS = 8  # finished ones; with fewer, an importance is noise


@dataclass(frozen=True)
class Subject:
    """The teacher that a search is for. metric: of the study. images: number in val. command: of the search."""

    study: str
    teacher: str
    metric: str
    images: int
    command: str

    @property
    def metric_on_val(self) -> str:
        return f"val_{self.metric}"

    def standard_error(self, value: float) -> float | None:
        """The standard error of one accuracy on val, for another draw of the images; None for other metrics."""
        return sqrt(value * (1 - value) / self.images) if self.metric == "accuracy" else None


def write_record(search: Search, subject: Subject, figures: bool = False) -> None:
    """Write trials.csv and, once a trial is finished, the recipe. figures: draw the figures too."""
    with locked(search.folder / "record"):
        trials = [trial for trial in search.trials(*OPEN, *ENDED) if is_drawn(search, trial)]
        if trials:
            write_csv(search.folder / "trials.csv", [trial_row(search, subject, trial) for trial in trials])
        if search.best is None:
            return
        with replacing(recipe_path(search, subject)) as partial:
            partial.write_text(recipe_text(search, subject, search.best), encoding="utf-8")
        if figures:
            draw_figures(search, subject, trials)


def is_drawn(search: Search, trial: FrozenTrial) -> bool:
    """False for a trial whose parameters another process is just drawing."""
    return search.space.distributions.keys() <= trial.params.keys()


def trial_row(search: Search, subject: Subject, trial: FrozenTrial) -> dict[str, Any]:
    """A row of trials.csv. A pruned or unfinished trial has the metric of its last epoch."""
    return {
        "trial": trial.number,
        "state": STATES[trial.state],
        subject.metric_on_val: value_of(trial),
        NLL: trial.user_attrs.get(NLL),
        "epochs": trial.last_step,
        "seconds": trial.user_attrs.get(SECONDS),
        **settings_of(search, trial),
        "reason": trial.user_attrs.get(REASON),
    }


def settings_of(search: Search, trial: Trial | FrozenTrial) -> dict[str, Parameter]:
    """Key -> value of the trial's teacher, for tables."""
    settings = search.space.settings(parameters_of(search, trial))
    return {key: stored(value) for key, value in settings.items()}


def value_of(trial: FrozenTrial) -> float | None:
    """The metric of the trial's network, or of its last epoch if it is pruned or unfinished; None before the first."""
    if trial.value is not None or trial.last_step is None:
        return trial.value
    return trial.intermediate_values[trial.last_step]


def trial_line(search: Search, subject: Subject, number: int, most: int | None) -> str:
    """One line for people on a trial that ended."""
    (trial,) = (trial for trial in search.trials(*ENDED) if trial.number == number)
    row = trial_row(search, subject, trial)
    done = f"trial {number}, {len(search.trials(*ENDED))}{f' of {most}' if most else ''} done"
    if trial.state == TrialState.PRUNED:
        result = f"pruned: {row['reason']}"
    else:
        result = f"{subject.metric_on_val} {row[subject.metric_on_val]:.4f}, {NLL} {row[NLL]:.4f}"
    best = search.best
    best_text = f"; best {best.value:.4f} in trial {best.number}" if best else ""
    return f"{done}: {result}, {row['seconds']:.0f} s{best_text}"


def result_lines(search: Search, subject: Subject) -> list[str]:
    """The lines that are printed at the end of a call."""
    best, ended = search.best, len(search.trials(*ENDED))
    if best is None:
        return [f"{ended} trials are done and none is finished; the same command goes on from here"]
    finished = len(search.trials(TrialState.COMPLETE))
    return [
        f"best of {finished} finished trials ({ended - finished} pruned): trial {best.number}, {subject.metric_on_val} "
        f"{best.value:.4f}; {settings_text(search, best)}",
        f"recipe: {recipe_path(search, subject)}",
        f"table and figures: {search.folder}",
    ]


def settings_text(search: Search, trial: Trial | FrozenTrial) -> str:
    """The settings of a trial on one line."""
    text = ", ".join(f"{key} {value}" for key, value in settings_of(search, trial).items())
    return f"the recipe itself: {text}" if trial.number == 0 else text


def recipe_path(search: Search, subject: Subject) -> Path:
    return search.folder / f"{subject.teacher}_tuned.yaml"


def recipe_text(search: Search, subject: Subject, best: FrozenTrial) -> str:
    """The best trial's settings as a recipe, with a header that states how far its value can be trusted."""
    settings = search.space.settings(parameters_of(search, best))
    teacher = with_settings(search.space.base, settings)
    # The keys that were searched are written even where the best value is the default.
    values = nested(settings, non_defaults(teacher, "recipe"))
    lines = [
        line
        for paragraph in header(search, subject, best)
        for line in wrap(paragraph, LINE, break_long_words=False, break_on_hyphens=False)
    ]
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=LINE)
    return "".join(f"# {line}\n" for line in lines) + text


def header(search: Search, subject: Subject, best: FrozenTrial) -> list[str]:
    """The paragraphs above the settings of a recipe."""
    path = recipe_path(search, subject)
    short_path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    finished, pruned = search.trials(TrialState.COMPLETE), search.trials(TrialState.PRUNED)
    recipe_value = next((trial.value for trial in finished if trial.number == 0), None)
    error = subject.standard_error(best.value or 0)
    noise = f" Standard error of one such value: {error:.4f}." if error else ""
    comparison = f" The recipe itself: {recipe_value:.4f}." if recipe_value is not None else ""
    return [
        f"Teacher {subject.teacher} of study {subject.study}: the best of {len(finished)} finished trials, of "
        f"{len(finished) + len(pruned)} in all (trial {best.number}).",
        f"{subject.metric_on_val} {best.value:.4f} on {subject.images} images, {NLL} {best.user_attrs[NLL]:.4f}."
        f"{comparison}{noise}",
        "It is the maximum over these trials on the images that chose it, with one seed, and therefore optimistic: "
        "train this recipe and the old one with other seeds and compare their means on val before it replaces the old "
        "one.",
        f"Searched with Optuna (TPE; pruned by the median after each epoch): {search.space}.",
        f"In a study: teachers: {{{subject.teacher}: {{recipe: {short_path}}}}}",
        f"Made by: {subject.command}",
    ]


def draw_figures(search: Search, subject: Subject, trials: list[FrozenTrial]) -> None:
    """Write history.png and, from eight finished trials on, importance.png."""
    title = f"{subject.study}, teacher {subject.teacher}"
    points = [
        Point(trial.number, value, trial.state == TrialState.COMPLETE)
        for trial in trials
        if (value := value_of(trial)) is not None
    ]
    label = f"{subject.metric} on {subject.images} images of val"
    finished = search.trials(TrialState.COMPLETE)
    search_history(points, label, subject.standard_error(finished[0].value or 0), search.folder / "history.png", title)
    if len(finished) >= LEAST_TRIALS and len({trial.value for trial in finished}) > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=search.seed)
        shares = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
        importance_bars(shares, f"{subject.metric} of {len(finished)} trials", search.folder / "importance.png", title)
