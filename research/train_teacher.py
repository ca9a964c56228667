"""Train one teacher of a study, or all of them."""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python research/train_teacher.py --study demo --teacher lite1")
    options.add_argument("--teacher", default=None, metavar="NAME", help="teacher of the study (default: all of them)")
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    for name in [given.teacher] if given.teacher else experiment.study.teachers:
        trained = stage_result(experiment, f"teachers/{name}")
        stage_result(experiment, f"predictions/{name}")
        print(f"teacher {name}: {trained.folder}")


if __name__ == "__main__":
    run(main)
