"""Does distillation pay? The student trained with and without the teachers, in arms with equal steps, over seeds.

The student and its twin (the given labels alone) may each try some settings on val with the first seed. Further seeds
are trained until the interval of their difference on test leaves zero, or is too narrow for a difference that matters.
Finished trainings are kept; rows of other arms (--arms) and of other settings (--setting) stay in the tables.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from decant.benchmarking.referee import ALONE, STUDENT, Referee, arms_of, unlabelled_images
from decant.errors import UserError, nearest
from decant.evaluation.referee import COMPARISON_COLUMNS, METRIC_COLUMNS
from decant.evaluation.tables import difference, read_results_table, write_results_table
from decant.stages.support.command import at_least_one, experiment_of, parser, run, variants_of
from decant.stages.support.provenance import record_measurement

EXAMPLE = (
    "python benchmarks/distillation.py --study demo --seeds 3\n"
    "  python benchmarks/distillation.py --study cifar10 --setting labels_10pct --set data.labelled_share=0.1"
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, EXAMPLE)
    options.add_argument("--seeds", type=at_least_one, default=5, help="most seeds (default: 5)")
    options.add_argument("--trials", type=at_least_one, default=3, choices=(1, 2, 3, 4), help="settings that each of"
                         " student and twin may try on val, with the first seed (default: 3)")  # fmt: skip
    options.add_argument(
        "--arms", nargs="+", metavar="NAME", help="only these arms beside student and student_alone (default: all)"
    )
    options.add_argument("--setting", default="full", help="name of the rows in the tables (default: full)")
    options.add_argument(
        "--out", type=Path, help="folder of the tables (default: results/<study>/benchmarks/distillation)"
    )
    given = options.parse_args(arguments)
    study, make = experiment_of(given).study, variants_of(given, "distillation")
    plain = make([])
    arms = arms_of(plain.study, unlabelled_images(plain))
    for name in set(given.arms or []) - set(arms):
        raise UserError(f"study {study.name} has no arm {name!r}; {nearest(name, list(arms))}")
    chosen = {name: arm for name, arm in arms.items() if name in (STUDENT, ALONE, *(given.arms or arms))}
    referee = Referee(make, chosen, given.setting, given.trials, given.seeds)
    out = (given.out or given.results / study.name / "benchmarks" / "distillation").expanduser().resolve()
    others = {
        name: others_of(out / f"{name}.csv", given.setting, column, chosen)
        for name, column in (("metrics", "arm"), ("comparisons", "other"))
    }
    rows = []
    for row in referee.rows():
        rows.append(row)
        print("{arm}, seed {seed}: accuracy {accuracy:.4f}, nll {nll:.4f}, {wall_s} s".format(**row), flush=True)
        write_results_table([*others["metrics"], *rows], out / "metrics.csv", METRIC_COLUMNS)
    seeds = len(rows) // len(referee.arms)
    compared = referee.comparisons(seeds)
    write_results_table([*others["comparisons"], *compared], out / "comparisons.csv", COMPARISON_COLUMNS)
    tables = [f"{name}.csv, setting {given.setting}" for name in ("metrics", "comparisons")]
    record_measurement(out, tables, {"name": plain.study.student.architecture, "digest": ""})
    for written in read_results_table(out / "comparisons.csv")[-len(compared) :]:
        print(f"student - {written['other']}: {difference(written, 'accuracy_difference')}")
    (primary,) = (row for row in compared if row["primary"])
    print(f"verdict after {seeds} seeds: {primary['verdict']}; tables: {out}")


def others_of(path: Path, setting: str, column: str, arms: Collection[str]) -> list[dict[str, object]]:
    """The rows of other settings and of other arms in an earlier table. column: names the arm."""
    return [dict(row) for row in read_results_table(path) if row["setting"] != setting or row[column] not in arms]


if __name__ == "__main__":
    run(main)
