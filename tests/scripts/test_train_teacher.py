"""research/train_teacher.py --rate-range on the study micro."""

from collections.abc import Callable
from pathlib import Path

import pytest

ExitCode = Callable[..., int]
SCRIPT = "research/train_teacher.py"


def test_a_range_test_is_shown_for_fine_tuned_teachers_alone(
    exit_code_of: ExitCode, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert exit_code_of(SCRIPT, "--study", "micro", "--runs", runs, "--wandb", "disabled", "--rate-range") == 0
    shown = runs / "micro" / "rate_range"
    assert [folder.name for folder in shown.iterdir()] == ["convnext"]
    assert {path.name for path in (shown / "convnext").iterdir()} == {"rates.csv", "rates.png"}
    assert "teacher convnext: try learning_rate=" in capsys.readouterr().out
    assert not (runs / "store" / "teachers").exists()


def test_a_range_test_keeps_no_features_for_other_settings(exit_code_of: ExitCode, tmp_path: Path) -> None:
    words = ["--study", "micro", "--runs", tmp_path / "runs", "--wandb", "disabled", "--rate-range"]
    assert exit_code_of(SCRIPT, *words, "--set", "teachers.convnext.head=probe") == 0
    shown = tmp_path / "runs" / "micro" / "rate_range" / "convnext"
    assert {path.name for path in shown.iterdir()} == {"rates.csv", "rates.png"}


def test_a_probe_has_no_learning_rate(exit_code_of: ExitCode, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    words = ["--study", "micro", "--runs", tmp_path / "runs", "--wandb", "disabled", "--rate-range"]
    assert exit_code_of(SCRIPT, *words, "--teacher", "probe") == 2
    assert "probe is a probe" in caplog.text
