"""A network from random weights: its accuracy on test against the minutes of training on this machine, over seeds.

Each training is a teacher of the study `cifar10_from_scratch`, from files to weights as in any study. A seed decides
the weights and the order of the images; the splits are those of the study. Finished trainings are kept, and so are the
table's rows of other recipes, budgets and seeds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from decant.benchmarking.teacher_scores import teacher_scores
from decant.evaluation.metrics import FROM_SCRATCH_COLUMNS
from decant.evaluation.tables import merged, minutes, read_results_table, write_results_table
from decant.stages.support.command import at_least_one, experiment_of, parser, run
from decant.stages.support.experiment import Experiment
from decant.stages.support.provenance import record_measurement
from decant.stages.support.resolve import stage_result
from decant.workspace import record_of

STUDY = "cifar10_from_scratch"
TRAINING = ("study", "recipe", "budget_minutes", "seed")  # the columns that name a training


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "DECANT_DATA=/where/your/data/is python benchmarks/from_scratch.py --minutes 5 30")
    options.set_defaults(study=STUDY)
    options.add_argument(
        "--minutes", type=float, nargs="+", default=[5, 10, 20, 30], help="budgets of training (default: 5 10 20 30)"
    )
    options.add_argument("--seeds", type=at_least_one, default=5, help="seeds of each budget (default: 5)")
    options.add_argument("--recipe", default="fast_cnn", help="recipe in research/recipes (default: fast_cnn)")
    options.add_argument("--out", type=Path, help="folder of from_scratch.csv (default: results/cifar10/benchmarks)")
    given = options.parse_args(arguments)
    out = (given.out or given.results / "cifar10" / "benchmarks").expanduser().resolve()
    runs = {
        (budget, seed): f"{given.recipe}_{budget:g}_{seed}".replace(".", "-")
        for budget in given.minutes
        for seed in range(given.seeds)
    }
    given.set = [*given.set, "teachers={}"]
    for (budget, _), name in runs.items():
        given.set += [f"teachers.{name}.recipe={given.recipe}", f"teachers.{name}.minutes={budget}"]
    experiment = experiment_of(given)
    table, rows = out / "from_scratch.csv", []
    for (budget, seed), name in runs.items():
        training = {
            "study": experiment.study.name,
            "recipe": given.recipe,
            "budget_minutes": f"{budget:g}",
            "seed": seed,
        }
        rows.append({**training, **row_of(experiment, name)})
        print("{budget_minutes} minutes, seed {seed}: {accuracy} after {minutes}".format(**rows[-1]), flush=True)
        write_results_table(merged(read_results_table(table), rows, TRAINING), table, FROM_SCRATCH_COLUMNS)
    record_measurement(out, ["from_scratch.csv"], {"name": given.recipe, "digest": ""})
    for budget in given.minutes:
        accuracies = np.array([row["accuracy"] for row in rows if row["budget_minutes"] == f"{budget:g}"])
        print(f"{budget:g} minutes: mean accuracy {accuracies.mean():.4f} over {len(accuracies)} seeds")


def row_of(experiment: Experiment, name: str) -> dict[str, object]:
    """Train a teacher and score it on test, with the study's test-time augmentation."""
    record = record_of(stage_result(experiment, f"teachers/{name}").folder)
    return {
        "minutes": minutes(record["seconds"]),
        "epochs": record["settings"]["epochs"],
        "accuracy": round(teacher_scores(experiment, name, "test", tta=True)["accuracy"], 5),
    }


if __name__ == "__main__":
    run(main)
