"""benchmarks/from_scratch.py on the study micro, in a place of its own: it adds stages to the study's."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from decant.errors import UserError
from decant.evaluation.metrics import FROM_SCRATCH_COLUMNS


def test_every_seed_and_budget_is_trained_once_and_scored_on_test(
    script_at: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    words = ["--study", "micro", "--recipe", "micro_convnext", "--minutes", "0.0001", "5", "--seeds", "2"]
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    script_at("benchmarks/from_scratch.py").main([*words, *places, "--wandb", "disabled"])
    with (tmp_path / "from_scratch.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FROM_SCRATCH_COLUMNS
    trained = [(float(row["budget_minutes"]), int(row["seed"])) for row in rows]
    assert trained == [(0.0001, 0), (0.0001, 1), (5, 0), (5, 1)]
    assert [row["epochs"] for row in rows] == ["1", "1", "2", "2"]  # the recipe has two epochs
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)


def test_another_study_is_not_written_beside_the_results_of_cifar10(script_at: Callable[[str], ModuleType]) -> None:
    with pytest.raises(UserError, match="name another folder with --out"):
        script_at("benchmarks/from_scratch.py").main(["--study", "micro"])
