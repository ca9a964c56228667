"""The review of a study: a page below its runs, and online a report in W&B. It reads results and trains nothing."""

import shlex
from datetime import UTC, datetime
from pathlib import Path

from decant.errors import UserError
from decant.evaluation.tables import plural
from decant.reporting.results_files import ResultsFiles, main_split, read_results_files
from decant.reporting.review import Section, review_sections
from decant.reporting.review_page import review_page
from decant.reporting.review_report import review_report
from decant.stages.support.experiment import Experiment, project_of
from decant.tracking import Record, accepted, from_server
from decant.workspace import replacing

PAGE = "review.html"


def reviewed_results(experiment: Experiment) -> ResultsFiles:
    """The study's results below `runs/`, else the published ones. Raises UserError if there are none."""
    name = experiment.study.name
    for folder in (experiment.workspace.folder / "results", experiment.results / name):
        results = read_results_files(folder)
        if results.precision:
            return results
    raise UserError(
        f"{experiment.workspace.folder / 'results'} has no scores of {name}; "
        f"run python benchmarks/report.py --study {name} first"
    )


def write_review(experiment: Experiment, results: ResultsFiles) -> Path:
    """Write `runs/<study>/review.html` and return its path."""
    path = experiment.workspace.folder / PAGE
    sections, commands = review_sections(results), sync_commands(experiment)
    with replacing(path) as partial:
        partial.write_text(review_page(*heading(experiment, results), sections, commands), encoding="utf-8")
    return path


def save_report(experiment: Experiment, results: ResultsFiles) -> str | None:
    """Give W&B the accuracy and the time of each model, and save the report; return its address.

    None, with a warning, if the server cannot be reached.
    """
    review = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    for section in review_sections(results):
        log_points(experiment, section, review)

    def save() -> str:
        project = accepted(project_of(experiment.study.name))
        report = review_report(results, project, *heading(experiment, results), review)
        report.save()
        return str(report.url)

    return from_server(save)


def log_points(experiment: Experiment, section: Section, review: str) -> None:
    """One run per model, for the figure of accuracy against time."""
    for model, (p50_ms, accuracy) in section.points.items():
        with experiment.track("review", {"review": review}, part=model) as tracked:
            tracked.record(Record(summary={"p50_ms": p50_ms, "accuracy": accuracy}))


def sync_commands(experiment: Experiment) -> list[tuple[str, str]]:
    """(sentence, shell command) pairs for looking at the study's offline runs, sending them, and writing the report."""
    study, folder = experiment.study.name, experiment.workspace.folder / "wandb"
    unsent = unsynced(folder)
    report = "Write the report in W&B:", f"python research/wandb_report.py --study {study} --wandb online"
    if not unsent:
        return [report]
    runs = shlex.quote(str(folder))
    send = f"Send the {plural(len(unsent), 'offline run')} to the project {project_of(study)}, after wandb login:"
    return [
        ("Look at the offline runs in this terminal, without a server:", f"wandb leet {runs}"),
        (send, f"wandb sync {runs}/offline-run-*"),
        report,
    ]


def unsynced(folder: Path) -> list[Path]:
    """The folders of offline runs that were not sent; W&B marks a sent run with a file."""
    return [run for run in sorted(folder.glob("offline-run-*")) if not list(run.glob("*.synced"))]


def heading(experiment: Experiment, results: ResultsFiles) -> tuple[str, str]:
    """The title of the review and the sentence below it."""
    title = f"Review of {experiment.study.title or experiment.study.name}"
    return title, f"Scores are those on {main_split(results)}, with 95 % intervals. Choices were made on val."
