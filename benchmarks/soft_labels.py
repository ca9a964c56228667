"""How fast soft labels are made, beside the bare forward pass of the same networks, and how much memory it takes.

Views of noise are rendered, predicted by a network of random weights and stored; the forward pass alone has views in
memory. The two alternate. On Linux the memory of labelling 5,000 and 50,000 images is measured too.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.soft_label_speed import MEMORY_COLUMNS, NETWORKS, SPEED_COLUMNS, memory_rows, speed_row
from decant.errors import UserError, nearest
from decant.evaluation.tables import short, write_results_table
from decant.stages.support.command import at_least_one, run
from decant.stages.support.provenance import record_measurement
from decant.study_files import ROOT

MEASURED = {"name": "networks of random weights", "digest": ""}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/soft_labels.py --networks lite0 lite2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help=f"any of"
                        f" {', '.join(NETWORKS)} (default: all)")  # fmt: skip
    parser.add_argument("--images", type=at_least_one, default=512, help="images per view (default: 512)")
    parser.add_argument("--rounds", type=at_least_one, default=7, help="views of each network (default: 7)")
    parser.add_argument("--memory", nargs="+", type=at_least_one, default=[5000, 50000], metavar="IMAGES",
                        help="how many images for the memory (default: 5000 50000)")  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "training", help="folder of tables (default: results/training)"
    )
    given = parser.parse_args(arguments)
    for unknown in set(given.networks) - set(NETWORKS):
        raise UserError(f"there is no network {unknown!r}; {nearest(unknown, list(NETWORKS))}")
    rows, tables = [], ["soft_labels.csv"]
    for name in given.networks:
        rows.append(speed_row(*NETWORKS[name], given.images, given.rounds))
        print(f"{name}: {short(str(rows[-1]['to_bare']))} of the rate of the bare forward pass", flush=True)
    write_results_table(rows, given.out / "soft_labels.csv", SPEED_COLUMNS)
    if sys.platform == "linux":
        memory = list(memory_rows(tuple(given.memory)))
        write_results_table(memory, given.out / "soft_label_memory.csv", MEMORY_COLUMNS)
        tables.append("soft_label_memory.csv")
        print("; ".join(f"{row['images']} images: {row['peak_mb']} MB" for row in memory))
    record_measurement(given.out, tables, MEASURED)
    print(f"tables: {given.out}")


if __name__ == "__main__":
    run(main)
