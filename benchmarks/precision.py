"""Score every model of a study on val and test: accuracy, macro precision, recall, F1, mAP, NLL, ECE."""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python benchmarks/precision.py --study demo").parse_args(arguments)
    measured = stage_result(experiment_of(given), "benchmarks/precision")
    print(f"precision: {measured.folder / 'metrics.csv'}")


if __name__ == "__main__":
    run(main)
