"""Which student? Several networks distilled from one set of soft labels: accuracy against speed and size.

All students learn the stored soft labels of the study with its views; teachers are not trained again. Each is exported
to fp32 and int8, and all files are timed in turns. Finished trainings are kept.
"""

from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.referee import require_same_inputs, with_same_cache
from decant.benchmarking.students import (
    STUDENT_COLUMNS,
    overrides,
    read_students,
    student_row,
    with_times,
)
from decant.errors import UserError, nearest
from decant.evaluation.tables import read_results_table, write_results_table
from decant.reporting.frontier import draw_frontier
from decant.stages.support.command import experiment_of, parser, run, variants_of
from decant.stages.support.provenance import record_measurement
from decant.study_files import ROOT

EXAMPLE = "python benchmarks/students.py --study demo --students lite0 lite0_narrow"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, EXAMPLE)
    options.add_argument("--file", type=Path, default=ROOT / "distill" / "students.yaml", help="YAML with the students"
                         " (default: distill/students.yaml)")  # fmt: skip
    options.add_argument("--students", nargs="+", metavar="NAME", help="only these students of the file (default: all)")
    options.add_argument("--out", type=Path, help="folder of table and figure (default:"
                         " results/<study>/benchmarks/students)")  # fmt: skip
    given = options.parse_args(arguments)
    study, known = experiment_of(given).study, read_students(given.file)
    chosen = list(known) if given.students is None else list(dict.fromkeys(given.students))
    for name in chosen:
        if name not in known:
            raise UserError(f"{given.file} has no student {name!r}; {nearest(name, list(known))}")

    with_same_pixels = with_same_cache(variants_of(given, "students"))
    experiments = {name: with_same_pixels(overrides(known[name])) for name in chosen}
    for name, experiment in experiments.items():
        require_same_inputs(f"student {name}", experiment, with_same_pixels(["student.mode=replay"]))
    rows = []
    for name, experiment in experiments.items():
        rows.append(student_row(experiment, name))
        print("{student}: val {val_accuracy:.4f}, {gmacs:.3f} GMAC, {file_mb:.1f} MB".format(**rows[-1]), flush=True)
    out = (given.out or given.results / study.name / "benchmarks" / "students").expanduser().resolve()
    write_results_table(with_times(rows, experiments), out / "metrics.csv", STUDENT_COLUMNS)
    record_measurement(out, ["metrics.csv"], {"name": f"students of {study.name}", "digest": ""})
    draw_frontier(read_results_table(out / "metrics.csv"), out)
    print(f"table: {out / 'metrics.csv'}")


if __name__ == "__main__":
    run(main)
