"""Export the student of a study, alone, to ONNX with its preprocessing inside, and verify the file."""

from collections.abc import Sequence

from decant.stages.command import experiment_of, parser, run
from decant.stages.export import export


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python distill/export_onnx.py --study demo").parse_args(arguments)
    experiment = experiment_of(given)
    with experiment.workspace.locked():
        exported = export(experiment)
    print(f"ONNX file: {exported.folder / 'student.onnx'}")


if __name__ == "__main__":
    run(main)
