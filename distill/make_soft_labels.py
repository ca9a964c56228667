"""Let the teachers that the ensemble hears label the views that the student will see."""

from collections.abc import Sequence

from decant.stages.ensemble import active_teachers, ensemble, read_weights
from decant.stages.soft_labels import soft_labels
from decant.stages.support.command import experiment_of, parser, run


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python distill/make_soft_labels.py --study demo --set soft_labels.views=12")
    options.add_argument(
        "--teacher",
        default=None,
        metavar="NAME",
        help="teacher of the study (default: all with a weight in the ensemble)",
    )
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    with experiment.workspace.locked():
        for name in [given.teacher] if given.teacher else active_teachers(read_weights(ensemble(experiment))):
            print(f"soft labels of {name}: {soft_labels(experiment, name).folder}")


if __name__ == "__main__":
    run(main)
