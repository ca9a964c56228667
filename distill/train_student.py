"""Train the student of a study, and its twin that learns from the given labels alone."""

from collections.abc import Sequence

from decant.stages.student import student, student_alone
from decant.stages.support.command import experiment_of, parser, run


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python distill/train_student.py --study demo --set student.epochs=20").parse_args(
        arguments
    )
    experiment = experiment_of(given)
    with experiment.workspace.locked():
        print(f"student: {student(experiment).folder}")
        print(f"student alone: {student_alone(experiment).folder}")


if __name__ == "__main__":
    run(main)
