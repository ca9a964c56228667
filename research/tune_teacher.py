"""Search for better settings of one teacher of a study: trials that train it, compared on val.

The first trial has the teacher's settings in the study. Trials that are worse than the median of the others are stopped
early. The search lies in runs/<study>/tuning/<teacher>/: the same command continues it after an interruption, and
several processes may work on it at the same time. The best settings become a recipe that a study can name.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.stages.support.command import at_least_one, experiment_of, parser, run, seconds
from decant.tuning.tune import Limits, tune

DEFAULT_TRIALS = 20


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(
        __doc__, "python research/tune_teacher.py --study demo --teacher lite1 --trials 20 --time-limit 2h"
    )
    options.add_argument("--teacher", default=None, metavar="NAME", help="teacher of the study; must be given")
    options.add_argument(
        "--trials",
        type=at_least_one,
        default=None,
        metavar="N",
        help=f"trials of the search, earlier calls included (default: {DEFAULT_TRIALS}, or as many as the time allows)",
    )
    options.add_argument(
        "--time-limit",
        type=seconds,
        default=None,
        metavar="TIME",
        help="start no trial after this time (45m, 2h); the running one ends after its epoch and can be continued",
    )
    options.add_argument(
        "--space",
        type=Path,
        default=None,
        metavar="FILE",
        help="the keys to try (default: the file of the teacher's family in research/spaces)",
    )
    given = options.parse_args(words)
    started = time.monotonic()
    experiment = experiment_of(given)
    if given.teacher is None:
        raise UserError(f"name one teacher with --teacher: {', '.join(experiment.study.teachers)}")
    trials = given.trials or (None if given.time_limit else DEFAULT_TRIALS)
    limits = Limits(trials, started + given.time_limit) if given.time_limit else Limits(trials)
    command = f"python research/tune_teacher.py {shlex.join(words)}"
    print("\n".join(tune(experiment, given.teacher, given.space, limits, command)))


if __name__ == "__main__":
    run(main)
