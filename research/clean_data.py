"""Examine a study's images and labels: set broken files aside, group duplicates, flag doubtful labels."""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python research/clean_data.py --study demo").parse_args(arguments)
    cleaned = stage_result(experiment_of(given), "clean")
    print(f"cleaned manifest, issues and counts: {cleaned.folder}")


if __name__ == "__main__":
    run(main)
