"""Train one teacher of a study, or all of them."""

from collections.abc import Sequence

from decant.reporting.plots import rate_range
from decant.stages.support.command import experiment_of, parser, run, seconds
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import inputs_of, stage_result
from decant.stages.teacher import learning_rate_range
from decant.training.rate_range import suggested_rate
from decant.workspace import write_csv


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(
        __doc__,
        "python research/train_teacher.py --study demo --teacher lite1 --time-limit 10m\n"
        "  python research/train_teacher.py --study demo --teacher lite1 --rate-range",
    )
    options.add_argument("--teacher", default=None, metavar="NAME", help="teacher of the study (default: all of them)")
    options.add_argument(
        "--time-limit",
        type=seconds,
        metavar="TIME",
        help="longest training of each teacher, for example 45m or 2h; lowers its epochs",
    )
    options.add_argument(
        "--rate-range", action="store_true", help="show the loss over rising learning rates, and train nothing"
    )
    given = options.parse_args(arguments)
    names = [given.teacher] if given.teacher else list(experiment_of(given).study.teachers)
    if given.time_limit:
        given.set = [*given.set, *(f"teachers.{name}.minutes={given.time_limit / 60:g}" for name in names)]
    experiment = experiment_of(given)
    if given.rate_range:
        fine_tuned = [name for name in names if experiment.study.teachers[name].kind == "finetune"]
        for name in fine_tuned if given.teacher is None else names:
            show_rate_range(experiment, name)
        return
    for name in names:
        trained = stage_result(experiment, f"teachers/{name}")
        stage_result(experiment, f"predictions/{name}")
        print(f"teacher {name}: {trained.folder}")


def show_rate_range(experiment: Experiment, name: str) -> None:
    """Write the range test of a teacher as a table and a figure, and print the rate that it suggests."""
    folder = experiment.workspace.folder / "rate_range" / name
    stage = f"teachers/{name}"
    rows = learning_rate_range(experiment, stage, inputs_of(experiment, stage))
    suggested = suggested_rate(rows)
    write_csv(folder / "rates.csv", rows)
    rate_range(rows, suggested, folder / "rates.png", f"{name}: loss over rising learning rates")
    print(f"teacher {name}: try learning_rate={suggested:.1e}; {folder / 'rates.png'}")


if __name__ == "__main__":
    run(main)
