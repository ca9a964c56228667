"""benchmarks/from_scratch.py on the study micro."""

import csv
from pathlib import Path
from typing import Any

from decant.evaluation.metrics import FROM_SCRATCH_COLUMNS

Micro = Any


def test_every_seed_and_budget_is_trained_once_and_scored_on_test(micro: Micro, tmp_path: Path) -> None:
    words = ("--recipe", "micro_convnext", "--minutes", "0.001", "5", "--seeds", "2", "--out", str(tmp_path))
    micro.run(*words, path="benchmarks/from_scratch.py")
    with (tmp_path / "from_scratch.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FROM_SCRATCH_COLUMNS
    trained = [(float(row["budget_minutes"]), int(row["seed"])) for row in rows]
    assert trained == [(0.001, 0), (0.001, 1), (5, 0), (5, 1)]
    assert [row["epochs"] for row in rows] == ["1", "1", "2", "2"]  # the recipe has two epochs
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
