"""Store the probabilities of each active teacher for the views that the student will see.

A teacher whose weight in the ensemble is 0 is not active. If the number of views changes, stored views are kept.
"""

from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.evaluation.tables import magnitude
from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.label_check import check_labels
from decant.stages.support.label_table import write_pooled_table
from decant.stages.support.resolve import members, stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python distill/make_soft_labels.py --study demo --set soft_labels.views=12")
    options.add_argument(
        "--teacher",
        default=None,
        metavar="NAME",
        help="teacher of the study (default: all active ones)",
    )
    options.add_argument(
        "--check",
        action="store_true",
        help="compute a sample of the stored labels again, and fail if one differs by more than rounding",
    )
    options.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="also write the ensemble's labels as a Parquet table (docs/soft_labels.md)",
    )
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    mode = experiment.study.student.mode
    if mode != "replay":
        raise UserError(f"no labels are stored for a student with mode: {mode}; use --set student.mode=replay")
    for name in [given.teacher] if given.teacher else members(experiment, "soft_labels"):
        print(f"soft labels of {name}: {stage_result(experiment, f'soft_labels/{name}').folder}")
        if given.check:
            check = check_labels(experiment, f"soft_labels/{name}")
            views = ", ".join(map(str, check.views))
            print(
                f"checked: views {views} of {check.images} images; the largest difference of a probability is "
                f"{magnitude(check.difference)}"
            )
    if given.table:
        write_pooled_table(experiment, given.table.expanduser().resolve())
        print(f"table: {given.table}")


if __name__ == "__main__":
    run(main)
