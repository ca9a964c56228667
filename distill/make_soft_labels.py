"""Store the probabilities of each active teacher for the views that the student will see.

A teacher whose weight in the ensemble is 0 is not active.
"""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import members, stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python distill/make_soft_labels.py --study demo --set soft_labels.views=12")
    options.add_argument(
        "--teacher",
        default=None,
        metavar="NAME",
        help="teacher of the study (default: all active ones)",
    )
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    for name in [given.teacher] if given.teacher else members(experiment, "soft_labels"):
        print(f"soft labels of {name}: {stage_result(experiment, f'soft_labels/{name}').folder}")


if __name__ == "__main__":
    run(main)
