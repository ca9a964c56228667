"""Which settings of a teacher matter: one change at a time, each over the same seeds, compared on val.

A file in research/ablations/ names a study, a teacher's settings and the changes. The seeds decide the weights and the
order of the images; the splits are those of the study. Finished trainings are kept. Rows of other changes stay in the
table: delete it after a change of the file's study or teacher.
"""

from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.ablations import UNCHANGED, ablation_rows, overrides, read_ablations
from decant.errors import UserError, nearest
from decant.evaluation.ablations import ABLATION_COLUMNS, EFFECT_COLUMNS, TRAINING, effect_rows
from decant.evaluation.tables import merged, read_results_table, short, write_results_table
from decant.stages.support.command import at_least_one, experiment_of, parser, run
from decant.stages.support.provenance import record_measurement

OF_FILE = "that of the file"  # --study
EXAMPLE = "DECANT_DATA=/where/your/data/is python benchmarks/ablations.py research/ablations/cars_body.yaml --seeds 3"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, EXAMPLE)
    options.set_defaults(study=OF_FILE)
    options.add_argument("file", type=Path, help="file in research/ablations")
    options.add_argument("--seeds", type=at_least_one, default=3, help="trainings of each change (default: 3)")
    options.add_argument("--changes", nargs="+", metavar="NAME", help="only these changes of the file (default: all)")
    options.add_argument("--out", type=Path, help="folder of ablations.csv and effects.csv (default: results/training)")
    given = options.parse_args(arguments)
    ablations, out = read_ablations(given.file), (given.out or given.results / "training").expanduser().resolve()
    if given.study not in (OF_FILE, ablations.study):
        raise UserError(f"the study of {given.file} is {ablations.study}; leave out --study, or change it in the file")
    names = list(ablations.changes) if given.changes is None else [UNCHANGED, *given.changes]
    for name in set(names) - set(ablations.changes):
        raise UserError(f"{given.file} has no change {name!r}; {nearest(name, ablations.changes)}")
    further_overrides, given.study = list(given.set), ablations.study
    experiments = {}
    for name in dict.fromkeys(names):
        given.set = [*overrides(ablations, name, given.seeds), *further_overrides]
        experiments[name] = experiment_of(given)
    study = Path(ablations.study).stem
    earlier, rows = read_results_table(out / "ablations.csv"), []
    for row in ablation_rows(experiments, study, given.seeds):
        rows.append(row)
        print("{change}, seed {seed}: val {val_accuracy:.4f}, nll {val_nll:.4f}, {minutes} minutes".format(**row))
        write_results_table(merged(earlier, rows, TRAINING), out / "ablations.csv", ABLATION_COLUMNS)
    table = read_results_table(out / "ablations.csv")
    write_results_table(effect_rows(table, UNCHANGED), out / "effects.csv", EFFECT_COLUMNS)
    record_measurement(out, ["ablations.csv", "effects.csv"], {"name": str(ablations.teacher["recipe"]), "digest": ""})
    for effect in read_results_table(out / "effects.csv"):
        if effect["study"] == study and effect["change"] != UNCHANGED:
            low, high = (short(effect[f"val_accuracy_difference_{end}"]) for end in ("low", "high"))
            print(f"{effect['change']}: {short(effect['val_accuracy_difference'])} on val ({low} to {high})")


if __name__ == "__main__":
    run(main)
