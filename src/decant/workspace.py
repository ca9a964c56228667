"""Workspace: where it goes. Stages, fingerprints, atomic files and the lock of one study's run folder."""

import csv
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from decant.errors import UserError

log = logging.getLogger(__name__)
FINISHED = "finished.json"
FINGERPRINT_DIGITS = 12


@dataclass(frozen=True)
class StageResult:
    """A stage whose files are whole. `fingerprint` stands for everything that they were made from."""

    name: str
    fingerprint: str
    folder: Path


class Workspace:
    """The run folder of one study: `<folder>/<stage>/<fingerprint>/`, the newest linked as `latest`."""

    _said: ClassVar[set[str]] = set()  # what was said once in this process is not said again

    def __init__(self, folder: Path, code: str = "") -> None:
        """code: names the code that builds stages, to be written beside them."""
        self.folder = folder
        self.code = code
        self.used: dict[str, StageResult] = {}  # by stage, what this process asked for last
        self._nested = 0.0  # seconds of the stages that were built within the one that is being built

    def stage(
        self,
        name: str,
        section: Any,
        reads: Sequence[StageResult | str],
        version: int,
        build: Callable[[Path], None],
        resumable: bool = False,
    ) -> StageResult:
        """Return the finished stage, building it where it is not there.

        section: what of the study decides the result (JSON-able). reads: the stages (or digests of outside
        files) that it reads. version: the stage's own format version. build: writes into the folder it is
        given. A folder without `finished.json` was interrupted: `build` resumes it if `resumable`, else it
        is cleared first. What older fingerprints left stays.
        """
        inputs = [item.fingerprint if isinstance(item, StageResult) else item for item in reads]
        mark = fingerprint({"stage": name, "section": section, "reads": inputs, "version": version})
        folder = self.folder / name / mark
        done = self.used[name] = StageResult(name, mark, folder)
        if is_whole(folder):
            self._tell_once(f"{name}: unchanged, kept in {folder}")
            point_latest(folder)
            return done
        if folder.exists() and not resumable:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        log.info("%s: %s", name, folder)
        around, self._nested = self._nested, 0.0
        started = time.monotonic()
        build(folder)
        took = time.monotonic() - started
        seconds, self._nested = round(took - self._nested, 1), around + took
        record = {"stage": name, "fingerprint": mark, "section": section, "reads": inputs, "version": version}
        files = {str(path.relative_to(folder)): path.stat().st_size for path in files_of(folder)}
        write_json(folder / FINISHED, {**record, "code": self.code, "seconds": seconds, "files": files})
        point_latest(folder)
        log.info("%s: done in %.0f s", name, seconds)
        self._said.add(f"{name}: unchanged, kept in {folder}")
        return done

    def resolved(self, key: str, decide: Callable[[], Any]) -> Any:
        """A value that a clock or the memory decides: decided once, stored, and the same ever after."""
        path = self.folder / "resolved.json"
        values = json.loads(path.read_text()) if path.is_file() else {}
        if key not in values:
            values[key] = decide()
            write_json(path, values)
        return values[key]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run folder; UserError when another process holds it. Re-entrant within a process."""
        from filelock import FileLock, Timeout  # not above: writing a file atomically needs no such package

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.folder} is in use by another process; wait for it or stop it") from None
        try:
            yield
        finally:
            lock.release()

    def _tell_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            log.info(message)


def files_of(folder: Path) -> list[Path]:
    """The files below a stage's folder, but for the mark that it is finished."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FINISHED)


def is_whole(folder: Path) -> bool:
    """Whether the stage was finished and its files are all there in their size."""
    if not (folder / FINISHED).is_file():
        return False
    files = json.loads((folder / FINISHED).read_text(encoding="utf-8")).get("files", {})
    changed = [
        name for name, size in files.items() if not (folder / name).is_file() or (folder / name).stat().st_size != size
    ]
    if changed:
        log.warning("%s: %s is missing or changed; made again", folder, ", ".join(changed[:3]))
        (folder / FINISHED).unlink()
        return False
    return True


def fingerprint(value: Any) -> str:
    """FINGERPRINT_DIGITS hex digits of the SHA-256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def is_fingerprint(text: str) -> bool:
    """Whether a text has a fingerprint's form, and so is a folder's name and no path."""
    return re.fullmatch(f"[0-9a-f]{{{FINGERPRINT_DIGITS}}}", text) is not None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:80]}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, two-space indented with a final newline, atomically."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows (at least one) as CSV, atomically; the columns are those of the first row."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def point_latest(folder: Path) -> None:
    """Let `latest` beside `folder` be a link to it."""
    link = folder.parent / "latest"
    if link.is_symlink() and os.readlink(link) == folder.name:
        return
    beside = folder.parent / f".latest.{os.getpid()}"
    beside.unlink(missing_ok=True)
    os.symlink(folder.name, beside, target_is_directory=True)
    os.replace(beside, link)
