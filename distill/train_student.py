"""Train the student of a study, and its twin that learns from the given labels alone."""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python distill/train_student.py --study demo --set student.epochs=20").parse_args(
        arguments
    )
    experiment = experiment_of(given)
    print(f"student: {stage_result(experiment, 'student').folder}")
    print(f"student alone: {stage_result(experiment, 'student_alone').folder}")


if __name__ == "__main__":
    run(main)
