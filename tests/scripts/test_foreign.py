"""benchmarks/foreign.py on the study micro, with its own images as foreign ones."""

import csv
import logging
from pathlib import Path
from typing import Any

import pytest

from decant.evaluation.foreign import FOREIGN_COLUMNS
from decant.stages.support.command import run

Micro = Any


def test_every_score_has_a_row_per_foreign_data_set_and_share(micro: Micro, tmp_path: Path) -> None:
    micro.run("--foreign", "micro", "micro:bus", "--images", "9", "--out", str(tmp_path), path="benchmarks/foreign.py")
    with (tmp_path / "micro.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FOREIGN_COLUMNS
    assert {row["foreign"] for row in rows} == {"micro", "micro (bus)"}
    assert {row["score"] for row in rows} == {"accept", "top_probability", "energy", "neighbour"}
    for row in rows:
        assert 0 < int(row["n_foreign"]) <= 9 and 0 <= float(row["refused"]) <= 1
        assert row["auroc"] == "" if row["score"] == "accept" else 0 <= float(row["auroc"]) <= 1
    accepted = {row["share_val"] for row in rows}
    assert any(float(share) >= 0.95 for share in accepted)


def test_an_unknown_class_is_named_with_the_known_ones(
    micro: Micro, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--study", "micro", "--runs", str(micro.place / "runs"), "--foreign", "micro:bsu", "--out", str(tmp_path)]
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit) as ended:
        run(micro.script("benchmarks/foreign.py").main, words)
    assert ended.value.code == 2 and "'bsu'" in caplog.text and "bus" in caplog.text
    assert not (tmp_path / "micro.csv").exists()
