"""Speed of training, from image files to the step: decant's stages compared with timm's own loop, on the CPU."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.photo_folder import copy_photos, draw_photos
from decant.benchmarking.training_speed import (
    FLAG_COLUMNS,
    LEVER_COLUMNS,
    NETWORKS,
    PHOTOS,
    PROFILE_COLUMNS,
    THROUGHPUT_COLUMNS,
    Prepared,
    flags_of_networks,
    lever_rows,
    prepare,
    profile_rows,
    throughput_row,
)
from decant.errors import UserError, nearest
from decant.evaluation.tables import short, write_results_table
from decant.stages.support.command import at_least_one, run
from decant.stages.support.experiment import Experiment, default_data_root
from decant.stages.support.provenance import record_measurement
from decant.study_files import ROOT
from decant.study_reading import load_study

BATCH = 32  # of the recipe that all networks are trained with
MEASURED = {"name": "networks of random weights", "digest": ""}
LEVERS_OF = ("lite0_frozen_norms", "lite0")  # the recipe, and the same with trained batch norms
FP32 = "fp32"  # the first of LEVERS_OF in this number format


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="examples:\n  python benchmarks/training.py\n  python benchmarks/training.py --profile\n"
        "  DECANT_DATA=/where/your/data/is python benchmarks/training.py --study cars_body",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", action="store_true", help="measure the parts of a step's time and the effect of"
                        " each lever, instead of the comparison with timm")  # fmt: skip
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help=f"any of"
                        f" {', '.join(NETWORKS)} (default: all)")  # fmt: skip
    parser.add_argument("--study", metavar="NAME|FILE", help="train on the JPEG files of this study (default: drawn"
                        " photos); they are copied into a temporary folder")  # fmt: skip
    parser.add_argument("--steps", type=at_least_one, default=10, help="steps of 32 images per round (default: 10)")
    parser.add_argument("--rounds", type=at_least_one, default=3, help="rounds per process (default: 3)")
    parser.add_argument("--processes", type=at_least_one, default=2, help="processes per contender (default: 2)")
    parser.add_argument("--threads", type=at_least_one, help="threads of a training (default: all usable cores)")
    parser.add_argument("--data", type=Path, help="folder of the study's data (default: $DECANT_DATA, else data/)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "training", help="folder of tables (default: results/training)"
    )
    given = parser.parse_args(arguments)
    for unknown in set(given.networks) - set(NETWORKS):
        raise UserError(f"there is no network {unknown!r}; {nearest(unknown, list(NETWORKS))}")
    with tempfile.TemporaryDirectory() as folder:
        write_photos(given, Path(folder))
        networks = {name: NETWORKS[name] for name in given.networks}
        if given.profile and set(LEVERS_OF) <= set(networks):
            networks[FP32] = {**NETWORKS[LEVERS_OF[0]], "dtype": "fp32"}
        prepared = prepare(Path(folder), networks, given.rounds * given.processes, given.processes, given.threads)
        if given.profile:
            write_profile(prepared, given.networks, given.out)
        else:
            write_throughput(prepared, given.networks, given.out)


def write_photos(given: argparse.Namespace, folder: Path) -> None:
    """Write the photos that are trained on, as many as an epoch needs."""
    photos, count = folder / PHOTOS, given.steps * BATCH
    if given.study is None:
        draw_photos(photos, count)
        return
    data = (given.data or default_data_root()).expanduser().resolve()
    copy_photos(Experiment(load_study(given.study), data, folder / "source").source, photos, count)


def write_throughput(prepared: Prepared, networks: Sequence[str], out: Path) -> None:
    flag_rows, flags = flags_of_networks(prepared, networks)
    write_results_table(flag_rows, out / "timm_flags.csv", FLAG_COLUMNS)
    rows = [throughput_row(prepared, name, flags[name]) for name in networks]
    write_results_table(rows, out / "throughput.csv", THROUGHPUT_COLUMNS)
    record_measurement(out, ["timm_flags.csv", "throughput.csv"], MEASURED)
    for row in rows:
        print(
            "{architecture}, {input_px} px, batch norms {batch_norms}: ".format(**row)
            + f"{short(str(row['to_timm']))} of the rate of timm's loop, "
            + f"{short(str(row['to_memory']))} of the rate on views in memory"
        )
    print(f"tables: {out / 'throughput.csv'}, {out / 'timm_flags.csv'}")


def write_profile(prepared: Prepared, networks: Sequence[str], out: Path) -> None:
    rows = [row for name in networks for row in profile_rows(prepared, name)]
    write_results_table(rows, out / "profile.csv", PROFILE_COLUMNS)
    record_measurement(out, ["profile.csv"], MEASURED)
    print(f"table: {out / 'profile.csv'}")
    if set(LEVERS_OF) <= set(networks):
        write_levers(lever_rows(prepared, *LEVERS_OF, FP32), out)


def write_levers(rows: Sequence[dict[str, object]], out: Path) -> None:
    write_results_table(rows, out / "levers.csv", LEVER_COLUMNS)
    record_measurement(out, ["levers.csv"], MEASURED)
    for row in rows:
        print(f"{row['lever']}: {short(str(row['times_as_fast']))} times as fast as without it")
    print(f"table: {out / 'levers.csv'}")


if __name__ == "__main__":
    run(main)
