"""Export the student of a study, alone, to ONNX with its preprocessing inside, and verify the file."""

from collections.abc import Sequence
from pathlib import Path

from decant.export.targets import TARGETS
from decant.stages.int8 import offer_line
from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.export_targets import write_targets
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python distill/export_onnx.py --study demo --target timm --target triton")
    options.add_argument(
        "--target",
        action="append",
        choices=list(TARGETS),
        help="format to write, may be repeated (default: onnx); docs/targets.md describes each",
    )
    options.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder to write to, with several targets one sub-folder per target (default: runs/<study>/export/latest "
        "for onnx, else runs/<study>/targets/<target>)",
    )
    options.add_argument(
        "--web-runtime",
        type=Path,
        metavar="DIR",
        help="for the target web: node_modules/onnxruntime-web/dist, from npm install onnxruntime-web",
    )
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    out = given.out.expanduser().resolve() if given.out else None
    folders = write_targets(experiment, given.target or ["onnx"], out, given.web_runtime)
    for target, folder in folders.items():
        print(f"ONNX file: {folder / 'student.onnx'}" if target == "onnx" else f"{target}: {folder}")
    if experiment.study.export.int8:
        print(offer_line(stage_result(experiment, "int8").folder))


if __name__ == "__main__":
    run(main)
