"""A script in a process of its own, started from another folder, with W&B offline."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from decant.study_files import ROOT

Micro = Any


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """`research/train_teacher.py --teacher convnext`, with relative paths and the tracking that is the default."""
    folder = tmp_path_factory.mktemp("elsewhere")
    words = [sys.executable, str(ROOT / "research" / "train_teacher.py"), "--study", "micro", "--teacher", "convnext"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    home = folder / "home"
    home.mkdir()
    result = subprocess.run(
        [*words, "--runs", "runs", "--results", "results"],
        cwd=folder,
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    return folder, result


def test_relative_paths_lie_in_the_folder_of_the_call(ended: tuple[Path, "subprocess.CompletedProcess[str]"]) -> None:
    folder, result = ended
    assert result.returncode == 0, result.stderr
    assert (folder / "runs" / "micro" / "teachers" / "convnext" / "latest" / "fold0" / "model.safetensors").is_file()
    assert not (folder / "wandb").exists()


def test_it_gives_what_the_chain_gives(ended: tuple[Path, "subprocess.CompletedProcess[str]"], micro: Micro) -> None:
    one = ended[0] / "runs" / "micro" / "teachers" / "convnext" / "latest" / "fold1" / "model.safetensors"
    two = micro.store / "teachers" / "convnext" / one.parent.parent.resolve().name / "fold1" / "model.safetensors"
    assert one.read_bytes() == two.read_bytes()


def test_an_offline_run_per_stage_lies_below_the_run_folder(
    ended: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    runs = sorted((ended[0] / "runs" / "micro" / "wandb").glob("offline-run-*"))
    assert len(runs) == 3  # the cleaned data, and one for each fold
    assert all(list(run.glob("*.wandb")) for run in runs)
    # No server was reached, and none was waited for.
    assert "not available" not in ended[1].stderr
