"""Export the student of a study, alone, to ONNX with its preprocessing inside, and verify the file."""

from collections.abc import Sequence
from pathlib import Path

from decant.stages.int8 import int8, verdict
from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.export_targets import TARGETS, write_targets


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__, "python distill/export_onnx.py --study demo --target timm --target triton")
    made.add_argument(
        "--target",
        action="append",
        choices=TARGETS,
        help="what for, may be repeated (default: onnx); docs/targets.md describes each",
    )
    made.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder to write to, with several targets a sub-folder for each (default: runs/<study>/targets/<target>)",
    )
    given = made.parse_args(arguments)
    experiment = experiment_of(given)
    out = given.out.expanduser().resolve() if given.out else None
    with experiment.workspace.locked():
        places = write_targets(experiment, given.target or ["onnx"], out)
        judged = verdict(int8(experiment)) if experiment.study.export.int8 else ""
    for target, folder in places.items():
        print(f"ONNX file: {folder / 'student.onnx'}" if target == "onnx" else f"{target}: {folder}")
    if judged:
        print(judged)


if __name__ == "__main__":
    run(main)
