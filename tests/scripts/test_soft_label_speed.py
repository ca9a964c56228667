"""benchmarks/soft_labels.py on few images of noise."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from decant.benchmarking import soft_label_speed as speed
from decant.benchmarking.soft_label_speed import MEMORY_COLUMNS, SPEED_COLUMNS, watched_memory
from decant.errors import UserError
from decant.evaluation.tables import read_results_table

Script = Callable[[str], ModuleType]


def test_a_network_is_timed_and_its_memory_measured(
    script_at: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(speed.NETWORKS, "small", ("test_efficientnet", 32))
    words = ["--networks", "small", "--images", "40", "--rounds", "2", "--memory", "30", "60", "--out", str(tmp_path)]
    script_at("benchmarks/soft_labels.py").main(words)
    (row,) = read_results_table(tmp_path / "soft_labels.csv")
    assert tuple(row) == SPEED_COLUMNS
    assert float(row["to_bare_low"]) <= float(row["to_bare"]) <= float(row["to_bare_high"])
    assert float(row["made_per_second"]) > 0 and float(row["bare_per_second"]) > 0
    if sys.platform == "linux":
        memory = read_results_table(tmp_path / "soft_label_memory.csv")
        assert tuple(memory[0]) == MEMORY_COLUMNS and [entry["images"] for entry in memory] == ["30", "60"]
        assert all(float(entry["peak_mb"]) > 10 for entry in memory)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_taken_for_a_moment_is_seen() -> None:
    with watched_memory(0.001) as seen:
        before = seen[0]
        block = np.ones(40_000_000, dtype=np.float32)
        block += 1
        del block
    assert max(seen) - before > 120e6


def test_an_unknown_network_is_a_users_mistake(script_at: Script) -> None:
    with pytest.raises(UserError, match="no network 'lite'"):
        script_at("benchmarks/soft_labels.py").main(["--networks", "lite"])
