"""Experiment: a study with the places that its stages read from and write to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from decant import machine
from decant.data.sources import Source, open_source
from decant.study import ROOT, Study
from decant.tracking import Log, Mode, wandb_run
from decant.workspace import Workspace

CODE = ("src", "research", "ensembles", "distill", "benchmarks", "requirements.lock")


@dataclass(frozen=True)
class Experiment:
    """study: what is asked. runs, results: folders above the study's own. as_committed: nothing was overridden."""

    study: Study
    data_root: Path
    runs: Path = ROOT / "runs"
    results: Path = ROOT / "results"
    wandb: Mode = "offline"
    as_committed: bool = True

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace(self.runs / self.study.name, code_version())

    @cached_property
    def source(self) -> Source:
        """The data's source; UserError says what is missing."""
        return open_source(self.study.data, self.data_root, self.workspace.folder, self.study.seed)

    @cached_property
    def data_digest(self) -> str:
        """The digest of the source, read once: every stage asks for it, and an archive takes a while."""
        return self.source.digest()

    @cached_property
    def device(self) -> torch.device:
        return machine.device()

    def pictures(self, rows: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
        """(manifest id, encoded bytes) of manifest rows, each once, in the source's order."""
        ids = dict(zip(rows["path"], rows["id"], strict=True))
        for path, data in self.source.read(list(ids)):
            yield ids[path], data

    def track(self, job: str, config: dict[str, Any]) -> AbstractContextManager[Log]:
        """A W&B run of one training."""
        name = f"{self.study.name}/{job}"
        shared = self.study.data.may_be_shared
        return wandb_run(self.wandb, self.workspace.folder, "decant", name, config, share_code=shared)


def code_version() -> str:
    """The commit of this checkout, with a + where the library or the scripts have changed since; "" outside git."""
    commit = git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return ""
    return commit + ("+" if git("status", "--porcelain", "--", *CODE) else "")


def git(*arguments: str) -> str | None:
    """git's answer, or None outside a checkout."""
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def are_committed(files: list[Path]) -> bool:
    """Whether these files are in this checkout's git as they are; outside git there is nothing to hold them to."""
    if git("rev-parse", "HEAD") is None:
        return True
    return all(
        git("ls-files", "--error-unmatch", str(path.resolve())) is not None
        and not git("status", "--porcelain", "--", str(path.resolve()))
        for path in files
    )


def default_data_root() -> Path:
    """$DECANT_DATA, else data/ in the repository."""
    return Path(os.environ.get("DECANT_DATA") or ROOT / "data").expanduser()
