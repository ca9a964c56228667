"""Time every model of a study on this machine: cold start, percentiles, throughput, memory."""

from collections.abc import Sequence

from decant.stages.latency import latency
from decant.stages.support.command import experiment_of, parser, run


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python benchmarks/latency.py --study demo").parse_args(arguments)
    experiment = experiment_of(given)
    with experiment.workspace.locked():
        measured = latency(experiment)
    print(f"latency: {measured.folder / 'metrics.csv'}")


if __name__ == "__main__":
    run(main)
