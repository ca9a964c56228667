"""What cleaning sets aside and suggests, on labels whose mistakes are known or were judged by people."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.cleaning_benchmark import CLEANING_COLUMNS, cifar10_rows, study_rows, toy_vehicles_rows
from decant.errors import UserError, nearest
from decant.evaluation.tables import write_results_table
from decant.stages.support.auto_settings import source_digest
from decant.stages.support.command import at_least_one, run
from decant.stages.support.experiment import Experiment, default_data_root
from decant.stages.support.input_geometry import encoder_source
from decant.stages.support.provenance import record_measurement
from decant.study_files import ROOT
from decant.study_reading import load_study

SETS = {
    "toy_vehicles": ("demo", toy_vehicles_rows),
    "cifar10": ("cifar10", cifar10_rows),
    "cars_body": ("cars_body", study_rows),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="examples:\n  python benchmarks/cleaning.py toy_vehicles\n"
        "  DECANT_DATA=/where/your/data/is python benchmarks/cleaning.py cifar10 cars_body",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sets", nargs="*", default=["toy_vehicles"], metavar="SET", help=f"any of {', '.join(SETS)}"
                        " (default: toy_vehicles, which needs no data)")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the studies")
    parser.add_argument(
        "--per-class", type=at_least_one, default=1000, help="train images per class of cifar10 (default: 1000)"
    )
    parser.add_argument("--data", type=Path, help="folder of the data (default: $DECANT_DATA, else data/)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where runs go (default: runs/)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "cleaning", help="folder of tables (default: results/cleaning)"
    )
    given = parser.parse_args(arguments)
    for unknown in set(given.sets) - set(SETS):
        raise UserError(f"there is no set {unknown!r}; {nearest(unknown, list(SETS))}")
    data, runs = ((path or default_data_root()).expanduser().resolve() for path in (given.data, given.runs))
    for name in given.sets:
        study, rows_of = SETS[name]
        limit = [f"data.limit={given.per_class}"] if name == "cifar10" else []
        experiment = Experiment(load_study(study, [*limit, *given.set]), data, runs, wandb="disabled")
        rows = [{**dict.fromkeys(CLEANING_COLUMNS), **row} for row in rows_of(experiment)]
        write_results_table(rows, given.out / f"{name}.csv", CLEANING_COLUMNS)
        record_measurement(given.out, [f"{name}.csv"], probe_of(experiment))
        for row in rows:
            print("{labels}: rate {rate:.4f}, suggested {suggested:.4f}".format(**row))
        print(f"table: {given.out / name}.csv")


def probe_of(experiment: Experiment) -> dict[str, str]:
    """The network whose features the label probe reads, as the measured model."""
    encoder = experiment.study.clean.encoder
    name = f"linear probe on {encoder.architecture}, {encoder.input_px} px, weights {encoder_source(experiment)}"
    return {"name": name, "digest": source_digest(encoder_source(experiment))}


if __name__ == "__main__":
    run(main)
