"""Images of other data sets: how many does a study's exported file refuse?

The file's own rule, `accept`, is compared with thresholds on the highest probability, on an energy score (Liu et al.
2020) and on the distance to the k-th nearest image of train (Sun et al. 2022). Each score has two thresholds: one
accepts the same share of val as the file, the other accepts 0.95. --foreign names studies whose images show none of
the classes of --study.
"""

from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.foreign_images import ForeignImages, foreign_rows
from decant.evaluation.foreign import FOREIGN_COLUMNS
from decant.evaluation.tables import short, write_results_table
from decant.stages.support.command import at_least_one, experiment_of, parser, run
from decant.stages.support.provenance import measured_file, record_measurement
from decant.stages.support.resolve import stage_result
from decant.study_files import ROOT

EXAMPLE = "python benchmarks/foreign.py --study vehicle_dataset --foreign cifar10:bird,cat,deer,dog,frog,horse"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, EXAMPLE)
    options.add_argument(
        "--foreign",
        type=foreign_images,
        nargs="+",
        metavar="STUDY[:CLASS,CLASS]",
        help="studies whose images are foreign, with the classes to take (default: all)",
    )
    options.add_argument(
        "--images", type=at_least_one, default=1000, help="images drawn of each foreign data set (default: 1000)"
    )
    options.add_argument(
        "--neighbours", type=at_least_one, default=10, metavar="K", help="the K-th nearest neighbour (default: 10)"
    )
    options.add_argument(
        "--out", type=Path, default=ROOT / "results" / "foreign", help="folder for STUDY.csv (default: results/foreign)"
    )
    given = options.parse_args(arguments)
    if given.foreign is None:
        options.error("give --foreign")
    experiment, out = experiment_of(given), given.out.expanduser().resolve()
    rows = foreign_rows(experiment, given.foreign, given.images, given.neighbours)
    table = f"{experiment.study.name}.csv"
    write_results_table(rows, out / table, FOREIGN_COLUMNS)
    file = stage_result(experiment, "export").folder / "student.onnx"
    record_measurement(out, [table], measured_file(file, f"the student of {experiment.study.name}"))
    for row in rows:
        numbers = {name: row[name] for name in ("share_test", "precision_test", "refused") if row[name] is not None}
        texts = (f"{name} {short(str(number))}" for name, number in numbers.items())
        print("{foreign}, {score}: ".format(**row) + ", ".join(texts))
    print(f"table: {out / table}")


def foreign_images(text: str) -> ForeignImages:
    """The value of --foreign: a study, and after a colon the classes to take."""
    study, _, classes = text.partition(":")
    return ForeignImages(study, tuple(name for name in classes.split(",") if name))


if __name__ == "__main__":
    run(main)
