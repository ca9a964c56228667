"""The section on the ensemble: pools, what each teacher adds, the paired comparison with the best teacher."""

from pathlib import Path

import numpy as np

from decant.ensemble.comparison import contribution_rows, diversity_rows, pooling_rows
from decant.evaluation.intervals import comparison_row
from decant.evaluation.tables import short, write_results_table
from decant.reporting.report import appendix_text


def ensemble_text(study: Path) -> str:
    return appendix_text(study, study).split("## Ensemble")[1].split("\n## ")[0]


def test_the_tables_of_the_stage_are_shown(study: Path) -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 60)
    members = {name: 2 * np.eye(3)[targets] + random.normal(size=(60, 3)) for name in ("lite0", "lite2")}
    groups = np.arange(60)
    pools = pooling_rows(members, targets, groups, "convex")
    gains = contribution_rows(members, targets, groups, "convex", [0.31, 0.69])
    write_results_table(pools, study / "ensemble" / "pooling.csv")
    write_results_table(gains, study / "ensemble" / "contributions.csv")
    write_results_table(diversity_rows(members, targets), study / "ensemble" / "diversity.csv")
    lines = ensemble_text(study).splitlines()
    for row in pools:
        name = f"{row['model']}, alone" if row["kind"] == "teacher" else row["model"]
        (line,) = [line for line in lines if line.startswith(f"| {name} | {short(str(row['val_accuracy']))} |")]
        assert line.endswith("| chosen |") == (row["model"] == "convex")
    for row, weight in zip(gains, ("0.310", "0.690"), strict=True):
        (line,) = [line for line in lines if line.startswith(f"| {row['teacher']} | {weight} |")]
        assert short(str(row["gain"])) in line
    assert any(line.startswith("lite0 and lite2 predict the same class for a share of 0.") for line in lines)


def test_the_ensemble_is_compared_with_the_best_teacher_on_the_same_images(study: Path) -> None:
    assert "paired difference" not in ensemble_text(study)  # results of an older version
    right, wrong = np.zeros(150, dtype=int), np.r_[np.ones(15, dtype=int), np.zeros(135, dtype=int)]
    row = comparison_row("ensemble", "lite2", "test", right, right, wrong)
    write_results_table([row], study / "benchmarks" / "precision" / "comparisons.csv")
    assert "(paired difference +0.100 (+0.0" in ensemble_text(study)
