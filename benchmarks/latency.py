"""Time every model of a study on this machine: cold start, percentiles, throughput, memory."""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python benchmarks/latency.py --study demo").parse_args(arguments)
    measured = stage_result(experiment_of(given), "benchmarks/latency")
    print(f"latency: {measured.folder / 'metrics.csv'}")


if __name__ == "__main__":
    run(main)
