"""benchmarks/from_scratch.py on the study micro, in a place of its own: it adds stages to the study's."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from decant.evaluation.metrics import FROM_SCRATCH_COLUMNS


def test_every_seed_and_budget_is_trained_once_and_scored_on_test(
    script_at: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    words = ["--study", "micro", "--recipe", "micro_convnext", "--wandb", "disabled"]
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    for minutes, seeds in (("0.0001", "1"), ("5", "2"), ("0.0001", "2")):  # the table keeps rows of other budgets
        script_at("benchmarks/from_scratch.py").main([*words, *places, "--minutes", minutes, "--seeds", seeds])
    with (tmp_path / "from_scratch.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FROM_SCRATCH_COLUMNS
    trained = [(float(row["budget_minutes"]), int(row["seed"])) for row in rows]
    assert trained == [(0.0001, 0), (5, 0), (5, 1), (0.0001, 1)]
    assert [row["epochs"] for row in rows] == ["1", "2", "2", "1"]  # the recipe has two epochs
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
