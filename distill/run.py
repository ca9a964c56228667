"""The whole chain, from photos to a verified ONNX file, its tables and its report.

Give PHOTOS (a folder, zip, tar, CSV or Parquet) to have a study written for them and run, or a study with --study. The
other scripts are called in order. Finished, unchanged stages are kept; interrupted ones are continued.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__" and {"--plan", "--dry-run"} & set(sys.argv):  # before the imports, which are most of the wait
    print("loading the libraries and reading the study, which takes a while on a busy machine", file=sys.stderr)

from decant.proposal.propose import Wishes, propose
from decant.scripts import script_module
from decant.stages import SCRIPTS
from decant.stages.publish import published_folder
from decant.stages.support.chain import Chain
from decant.stages.support.command import PUBLISH_HELP, common_words, experiment_of, parser, run, seconds
from decant.stages.support.experiment import Experiment
from decant.stages.support.plan import geometry_line, plan, plan_lines
from decant.study import METRICS


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(
        __doc__, "python distill/run.py photos.zip --time-limit 45m\n  python distill/run.py --study demo --plan"
    )
    options.add_argument("photos", nargs="?", type=Path, metavar="PHOTOS", help="folder, archive, table or Parquet")
    options.add_argument("--plan", action="store_true", help="print which stages are finished and which would run")
    options.add_argument(
        "--dry-run",
        action="store_true",
        help="PHOTOS: write and explain the study, and run nothing; with --study: as --plan",
    )
    options.add_argument(
        "--time-limit",
        type=seconds,
        metavar="TIME",
        help="PHOTOS: longest time of the whole run, for example 45m or 2h; an estimate (default: 25m if possible)",
    )
    options.add_argument("--metric", choices=METRICS, help="metric on val by which models are chosen")
    options.add_argument("--allow-downloads", action="store_true", help="PHOTOS: download better weights from hubs")
    options.add_argument("--publish", action="store_true", help=PUBLISH_HELP)
    given = options.parse_args(arguments)
    if given.photos is not None:
        take_photos(options, given)
    elif given.time_limit or given.allow_downloads:
        options.error("--time-limit and --allow-downloads choose the networks of a new study: they need PHOTOS")
    elif given.metric:
        given.set = [*given.set, f"metric={given.metric}"]
    if given.plan or given.dry_run:
        print("\n".join(planned_lines(experiment_of(given))) if given.plan or given.photos is None else "nothing ran")
        return
    run_chain(given)


def planned_lines(experiment: Experiment) -> list[str]:
    return [*plan_lines(plan(experiment)), geometry_line(experiment)]


def take_photos(options: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Write a study for the photos, or take the one that exists, as the study to run; print its assumptions."""
    if given.study != options.get_default("study"):
        options.error("give PHOTOS or --study, not both")
    wishes = Wishes(given.metric, given.time_limit, given.allow_downloads, tuple(given.set))
    proposal = propose(given.photos, wishes, Path.cwd(), given.runs)
    print("\n".join(proposal.lines), flush=True)
    given.study, given.set = str(proposal.file), []


def run_chain(given: argparse.Namespace) -> None:
    experiment = experiment_of(given)
    if given.publish:
        published_folder(experiment)  # raises its errors now, not at the end of the run
    chain = Chain(experiment)
    for script in chain.scripts():
        for line in chain.build(script):
            print(line, flush=True)
        publish = ["--publish"] if given.publish and script == SCRIPTS[-1] else []
        script_module(script).main([*common_words(given), *publish])


if __name__ == "__main__":
    run(main)
