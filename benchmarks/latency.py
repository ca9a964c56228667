"""Time every model of a study on this machine: cold start, percentiles, throughput, memory."""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python benchmarks/latency.py --study demo --full")
    options.add_argument(
        "--full",
        action="store_true",
        help="all batch sizes, thread counts and engines; same as --set benchmark.full=true",
    )
    given = options.parse_args(arguments)
    if given.full:
        given.set = [*given.set, "benchmark.full=true"]
    measured = stage_result(experiment_of(given), "benchmarks/latency")
    print(f"latency: {measured.folder / 'metrics.csv'}")


if __name__ == "__main__":
    run(main)
