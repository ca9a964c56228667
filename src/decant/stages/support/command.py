"""What the scripts share: their common options, and one line instead of a traceback for a user's mistake."""

import argparse
import io
import logging
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from decant import machine
from decant.errors import exit_on_user_error
from decant.processes import launched
from decant.stages.support.experiment import Experiment, are_committed, default_data_root
from decant.study_files import ROOT, study_files
from decant.study_reading import describe, load_study

log = logging.getLogger(__name__)
UNITS = {"s": 1, "m": 60, "": 60, "h": 3600}
DEFAULT_STUDY = "demo"
STOPPED = "stopped; the same command goes on from here"  # finished stages and epochs are kept
PUBLISH_HELP = (
    "copy the results into results/<study> too, for a study as committed (default: runs/<study>/results alone)"
)


def parser(purpose: str, example: str) -> argparse.ArgumentParser:
    """A parser with the options that every stage's script has. purpose, example: for --help."""
    options = argparse.ArgumentParser(
        description=purpose,
        epilog=f"example:\n  {example}\n\nkeys of a study, with defaults, for --set:\n" + "\n".join(describe()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--study", default=DEFAULT_STUDY, metavar="NAME|FILE", help="study to work on (default: %(default)s)"
    )
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the study")
    options.add_argument(
        "--data", type=Path, default=None, help="folder of the data (default: $DECANT_DATA, else data/)"
    )
    options.add_argument("--runs", type=Path, default=ROOT / "runs", help="where runs go (default: runs/)")
    options.add_argument(
        "--results", type=Path, default=ROOT / "results", help="where --publish copies results to (default: results/)"
    )
    options.add_argument(
        "--wandb", choices=["online", "offline", "disabled"], default="offline", help="W&B mode (default: offline)"
    )
    return options


def at_least_one(text: str) -> int:
    """The argparse type of an option that is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """The argparse type of a duration: 45m, 2h, 90s; a number alone is minutes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)\w*", text.strip().lower())
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: write 45m or 2h")
    return float(match[1]) * UNITS[match[2]]


def experiment_of(options: argparse.Namespace) -> Experiment:
    """The experiment that the common options describe."""
    study = load_study(options.study, options.set)
    results = options.results.expanduser().resolve()
    outside = not results.is_relative_to(ROOT)
    return Experiment(
        study,
        (options.data or default_data_root()).expanduser().resolve(),
        options.runs.expanduser().resolve(),
        results,
        options.wandb,
        as_committed=not options.set and (outside or are_committed(study_files(options.study))),
    )


def variants_of(options: argparse.Namespace, suffix: str) -> Callable[[Sequence[str]], Experiment]:
    """A function that takes further `key=value` words for the study and returns the experiment STUDY_SUFFIX."""
    name = f"name={experiment_of(options).study.name}_{suffix}"

    def variant(words: Sequence[str]) -> Experiment:
        return experiment_of(argparse.Namespace(**{**vars(options), "set": [*options.set, name, *words]}))

    return variant


def common_words(options: argparse.Namespace) -> list[str]:
    """The common options as command-line words, for another script."""
    words = ["--study", options.study, "--runs", str(options.runs), "--results", str(options.results)]
    words += ["--wandb", options.wandb, *(word for override in options.set for word in ("--set", override))]
    return words if options.data is None else [*words, "--data", str(options.data)]


def run(command: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> None:
    """Call a script's main; a UserError ends in one line and exit code 2, without a traceback."""
    machine.keep_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # in a file or pipe too, each line appears when it is printed
        sys.stdout.reconfigure(line_buffering=True)
    with exit_on_user_error(stopped=STOPPED), counted_warnings(), only_first_prints():
        command(arguments)


@contextmanager
def only_first_prints() -> Iterator[None]:
    """Let only the first of several processes print and log; each process shows its own traceback."""
    if int(os.environ.get("RANK", "0")):
        logging.disable(logging.ERROR)
    if launched().leads:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def counted_warnings() -> Iterator[None]:
    """Count Python's warnings, which are those of libraries, and log the counts at the end instead of each of them.

    `python -W default` and PYTHONWARNINGS show them as Python does.
    """
    if sys.warnoptions:
        yield
        return
    counts: Counter[str] = Counter()
    original = warnings.showwarning
    warnings.showwarning = lambda message, category, filename, *rest: counts.update([library_of(filename)])
    try:
        yield
    finally:
        warnings.showwarning = original
        if counts:
            by_library = ", ".join(f"{name} {count}" for name, count in counts.most_common())
            log.info("warnings of libraries, not shown: %s; PYTHONWARNINGS=default shows them", by_library)


def library_of(filename: str) -> str:
    """The package that a file of Python belongs to, `torch` for example."""
    inner = filename.replace("\\", "/").rpartition("/site-packages/")[2]
    return inner.partition("/")[0] if inner and not inner.startswith("/") else Path(filename).stem
