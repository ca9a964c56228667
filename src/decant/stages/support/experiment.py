"""Experiment: a study with the folders that its stages read from and write to."""

import os
import re
import subprocess
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from decant import machine
from decant.data.sources import Source, open_source, toy_vehicles_folder
from decant.processes import launched
from decant.study import Study, documented
from decant.study_files import ROOT
from decant.tracking import Artifact, Job, Log, Mode, wandb_run
from decant.workspace import StageResult, Undecided, Workspace, locked

CODE = ("src", "research", "ensembles", "distill", "benchmarks", "requirements.lock")
ABSOLUTE = re.compile(r"^(file:)?(?:[/~]|[A-Za-z]:[\\/]).*[\\/](?=[^\\/]+$)")  # the folders of an absolute path


class OpenedSource:
    """A source and its digest. The digest is computed once, because an archive takes a while."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def digest(self) -> str:
        return self.source.digest()


@dataclass(frozen=True)
class Experiment:
    """A study with the folders that its stages read from and write to.

    runs, results: folders above the study's own. as_committed: nothing was overridden. may_measure: False while
    planning; what a clock or a hub decides is then taken from the store alone. finished: the stages that this process
    has resolved, by name. opened: the sources that this experiment and its copies have opened.
    """

    study: Study
    data_root: Path
    runs: Path = ROOT / "runs"
    results: Path = ROOT / "results"
    wandb: Mode = "offline"
    as_committed: bool = True
    may_measure: bool = True
    finished: dict[str, StageResult] = field(default_factory=dict, init=False, compare=False)
    opened: dict[Hashable, OpenedSource] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace(self.runs, self.study.name, code_version())

    @property
    def source(self) -> Source:
        """The source of the images. Raises UserError if something is missing. Toy vehicles are drawn into the store."""
        return self._opened.source

    @property
    def data_digest(self) -> str:
        """The digest of the source, computed once for this experiment and its copies by `replace`."""
        return self._opened.digest

    @cached_property
    def _opened(self) -> OpenedSource:
        data, seed, drawn = self.study.data, self.study.seed, self.workspace.store / "toy_vehicles"
        key = (data.model_dump_json(), seed, self.data_root, drawn)
        if key not in self.opened:
            undrawn = data.source == "toy_vehicles" and not toy_vehicles_folder(data, drawn, seed).exists()
            if undrawn and not self.may_measure:
                raise Undecided("toy vehicles are not drawn yet")
            with locked(drawn):
                self.opened[key] = OpenedSource(open_source(data, self.data_root, drawn, seed))
        return self.opened[key]

    @cached_property
    def device(self) -> torch.device:
        return machine.device()

    def encoded_images(self, rows: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
        """Yield (manifest id, encoded bytes) for each manifest row, in the source's order."""
        ids = dict(zip(rows["path"], rows["id"], strict=True))
        for path, data in self.source.read(list(ids)):
            yield ids[path], data

    @property
    def tracks(self) -> bool:
        """True if this process writes W&B runs."""
        return self.wandb != "disabled" and launched().leads

    def track(
        self, stage: str, settings: Mapping[str, Any], reads: Sequence[Artifact] = (), part: str = ""
    ) -> AbstractContextManager[Log]:
        """A W&B run of a stage or of a part of it: a fold, or a scored model. settings, reads: of the stage."""
        mode = self.wandb if self.tracks else "disabled"
        return wandb_run(mode, self.workspace.folder, job_of(self.study, stage, settings, reads, part))


def job_of(study: Study, stage: str, settings: Mapping[str, Any], reads: Sequence[Artifact], part: str) -> Job:
    """What W&B shows of a run: a project per study, a group per model, tags for stage, teacher and seed.

    config: `settings`, which decide the result, without what equals a default, and `study`, the whole resolved study.
    """
    family, _, model = stage.partition("/")
    teacher = [f"teacher:{model}"] if model in study.teachers else []
    repetition = [f"repetition:{study.student.repetition}"] if study.student.repetition and not teacher else []
    return Job(
        project=project_of(study.name),
        name=f"{stage}/{part}" if part else stage,
        group=model if teacher else stage,
        kind=family if teacher else stage,
        tags=[f"stage:{family if teacher else stage}", *teacher, f"seed:{study.seed}", *repetition],
        config={
            "stage": stage,
            "part": part,
            "seed": study.seed,
            "settings": dict(settings),
            "study": documented(study) if study.data.may_be_shared else without_folders(documented(study)),
        },
        reads=reads,
        share=study.data.may_be_shared,
    )


def without_folders(value: Any) -> Any:
    """The value with the last part alone of each absolute path in it: folders can name people."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    return ABSOLUTE.sub(r"\1…/", value) if isinstance(value, str) else value


def project_of(study: str) -> str:
    """The W&B project of a study."""
    return f"decant-{study}"


def code_version() -> str:
    """The commit of this checkout, with a + if the library or the scripts differ from it; "" outside git."""
    commit = git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return ""
    return commit + ("+" if git("status", "--porcelain", "--", *CODE) else "")


def git(*arguments: str) -> str | None:
    """The output of a git command, or None outside a checkout."""
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def are_committed(files: list[Path]) -> bool:
    """True if the files are committed in this checkout as they are; always True outside git."""
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
