"""Combine the teachers of a study: test-time augmentation, a temperature and a weight each, fitted on val."""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result
from decant.stages.support.weights import read_weights


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python ensembles/combine.py --study demo --set ensemble.pooling=greedy").parse_args(
        arguments
    )
    combined = stage_result(experiment_of(given), "ensemble")
    weights = read_weights(combined.folder)
    for name, weight, temperature in zip(weights.names, weights.weights, weights.temperatures, strict=True):
        print(f"{name}: weight {weight:.3f}, temperature {temperature:.3f}")
    print(f"ensemble: {combined.folder}")


if __name__ == "__main__":
    run(main)
