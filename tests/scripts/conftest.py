"""The scripts as functions, and one whole run of the study `micro` that many tests look at."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from decant.scripts import script_module
from decant.workspace import Workspace


def script(path: str) -> ModuleType:
    """The script at `path` below the repository, as a module."""
    return script_module(path)


@pytest.fixture(scope="session")
def script_at() -> Callable[[str], ModuleType]:
    return script


@dataclass(frozen=True)
class Micro:
    """Where a run of `micro` lies, and how to run the chain there again."""

    place: Path

    @property
    def runs(self) -> Path:
        return self.place / "runs" / "micro"

    @property
    def results(self) -> Path:
        """`micro` does not publish: its results stays with its run."""
        return self.runs / "results"

    def script(self, path: str) -> ModuleType:
        return script(path)

    def run(self, *words: str, path: str = "distill/run.py") -> None:
        places = ["--runs", str(self.place / "runs"), "--results", str(self.place / "results")]
        script(path).main(["--study", "micro", "--wandb", "disabled", *places, *words])

    @property
    def store(self) -> Path:
        return self.place / "runs" / "store"

    def stages(self) -> dict[str, set[str]]:
        """Stage name -> the fingerprints of its finished results."""
        marks: dict[str, set[str]] = {}
        for file in self.store.rglob("finished.json"):
            marks.setdefault(str(file.parent.parent.relative_to(self.store)), set()).add(file.parent.name)
        return marks

    def files(self) -> dict[str, str]:
        """Path -> SHA-256 of every file of the runs, without locks."""
        runs = self.place / "runs"
        return {
            str(path.relative_to(runs)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(runs.rglob("*"))
            if path.is_file() and path.suffix != ".lock"
        }


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """The whole chain of `micro`, once."""
    made = Micro(tmp_path_factory.mktemp("micro"))
    made.run()
    return made


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """A process that has logged nothing yet; yields the messages that it logs."""
    told: set[str] = set()
    monkeypatch.setattr(Workspace, "_logged", told)
    yield told


Main = Callable[[Sequence[str] | None], None]
