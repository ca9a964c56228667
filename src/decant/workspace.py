"""Workspace: where results go. The stage store, fingerprints, locks and atomic files.

    runs/store/<stage>/<fingerprint>/    finished stages, shared by all studies
    runs/<study>/<stage>/latest          a link to the stage that the study used last

On a disk without symbolic links `latest` is a small text file that contains the folder's relative path; `followed`
resolves it within any path.
"""

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
STORE = "store"
LATEST = "latest"
FINISHED = "finished.json"
FINGERPRINT_DIGITS = 12


class Undecided(Exception):
    """Raised for a value that must be measured first, where nothing may be measured."""


@dataclass(frozen=True)
class Passing:
    """A decided value that may be another one in a later process, so it is not stored."""

    value: Any


@dataclass(frozen=True)
class StageResult:
    """A stage's place in the store. `fingerprint` stands for everything that its files were made from."""

    name: str
    fingerprint: str
    folder: Path


class Workspace:
    """The run folder of one study, and the store that all studies below `runs` share.

    code: names the code that builds stages; it is written beside their files.
    """

    _logged: ClassVar[set[str]] = set()  # messages that this process has logged already
    _passing: ClassVar[dict[tuple[Path, str], Any]] = {}  # values decided for this process alone, by store and key

    def __init__(self, runs: Path, study: str, code: str = "") -> None:
        if study == STORE:
            raise UserError(f"a study cannot be called {STORE}: {runs / STORE} holds the finished stages; rename it")
        self.store = runs / STORE
        self.folder = runs / study
        self.code = code
        self.used: dict[str, StageResult] = {}  # stage name -> the stage that this process asked for last

    def stage(
        self,
        name: str,
        settings: Any,
        reads: Sequence[StageResult | str],
        version: int,
        build: Callable[[Path], None],
        resumable: bool = False,
    ) -> StageResult:
        """Return the finished stage; build it if it is not in the store.

        settings, reads, version: as for `located`. build: writes into the folder it is given. A folder without
        `finished.json` was interrupted: `build` resumes it if `resumable`, else it is cleared first. Folders of other
        fingerprints stay. If another process builds the same stage, this one waits for it.
        """
        result = self.used[name] = self.located(name, settings, reads, version)
        if not is_whole(result.folder):
            with locked(result.folder):
                if not is_whole(result.folder):  # it may have been built while this process waited
                    self._build(result, settings, reads, version, build, resumable)
        self._log_once(f"{name}: unchanged, kept in {result.folder}")
        point_latest(self.folder / name, result.folder)
        return result

    def located(self, name: str, settings: Any, reads: Sequence[StageResult | str], version: int) -> StageResult:
        """Return where the stage is or would be, without building it.

        settings: what decides the result besides the inputs (JSON-able). reads: the stages, or digests of outside
        files, that the stage reads. version: the version of the stage's code.
        """
        mark = fingerprint({"stage": name, "settings": settings, "reads": digests(reads), "version": version})
        return StageResult(name, mark, self.store / name / mark)

    def _build(
        self,
        result: StageResult,
        settings: Any,
        reads: Sequence[StageResult | str],
        version: int,
        build: Callable[[Path], None],
        resumable: bool,
    ) -> None:
        folder = result.folder
        if folder.exists() and not resumable:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        log.info("%s: %s", result.name, folder)
        earlier, started = interrupted_seconds(folder) if resumable else 0.0, time.monotonic()
        write_json(attempt_of(folder), {"earlier_s": earlier, "started": time.time()})
        build(folder)
        attempt_of(folder).unlink(missing_ok=True)
        seconds = round(earlier + time.monotonic() - started, 1)
        record = {
            "stage": result.name,
            "fingerprint": result.fingerprint,
            "settings": settings,
            "reads": digests(reads),
            "version": version,
            "code": self.code,
            "seconds": seconds,
            "files": {str(path.relative_to(folder)): path.stat().st_size for path in files_of(folder)},
        }
        write_json(folder / FINISHED, record)
        log.info("%s: done in %.0f s", result.name, seconds)
        self._logged.add(f"{result.name}: unchanged, kept in {folder}")

    def decided(self, key: str, decide: Callable[[], Any] | None) -> Any:
        """Return a value that depends on a clock or a hub. It is decided once, stored, and the same from then on.

        A `Passing` value is the same for the rest of the process, and is decided anew by the next one. decide: None
        where nothing may be measured; raises Undecided if the value is not stored yet.
        """
        path = self.store / "decided.json"
        if (path, key) in self._passing:
            return self._passing[path, key]
        if key not in read_decided(path):
            if decide is None:
                raise Undecided(key)
            with locked(path):
                values = read_decided(path)
                if key not in values:
                    value = decide()
                    if isinstance(value, Passing):
                        self._passing[path, key] = value.value
                        return value.value
                    write_json(path, {**values, key: value})
        return read_decided(path)[key]

    def _log_once(self, message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            log.info(message)


def read_decided(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return values


def digests(reads: Sequence[StageResult | str]) -> list[str]:
    return [item.fingerprint if isinstance(item, StageResult) else item for item in reads]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder of the store; wait if another process holds it."""
    from filelock import FileLock, Timeout  # not above: a machine that only verifies a file may lack it

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s is being built by another process; waiting for it", path)
        lock.acquire()
    except NotImplementedError:  # some mounted disks have no locks
        log.warning("%s: this disk has no locks; start one run at a time", path.parent)
    try:
        yield
    finally:
        lock.release()


def interrupted_seconds(folder: Path) -> float:
    """How long interrupted attempts to build a stage took: from the start of each to the last file that it wrote."""
    if not attempt_of(folder).is_file():
        return 0.0
    attempt = json.loads(attempt_of(folder).read_text(encoding="utf-8"))
    last_file = max((path.stat().st_mtime for path in files_of(folder)), default=0.0)
    return float(attempt["earlier_s"]) + max(0.0, last_file - float(attempt["started"]))


def attempt_of(folder: Path) -> Path:
    """The file beside a stage's folder that exists while it is built: when that began, and what was spent before."""
    return folder.with_name(f".{folder.name}.attempt.json")


def files_of(folder: Path) -> list[Path]:
    """The files below a stage's folder, without the mark that it is finished."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FINISHED)


def is_whole(folder: Path) -> bool:
    """True if the stage was finished and its files still have their sizes; else `finished.json` is deleted."""
    if not (folder / FINISHED).is_file():
        return False
    changed = changed_files(folder)
    if changed:
        log.warning("%s: %s is missing or changed; made again", folder, ", ".join(changed[:3]))
        (folder / FINISHED).unlink()
    return not changed


def changed_files(folder: Path) -> list[str]:
    """The files of a finished stage that are missing or have another size."""
    sizes = record_of(folder).get("files", {})
    return [
        name for name, size in sizes.items() if not (folder / name).is_file() or (folder / name).stat().st_size != size
    ]


def record_of(folder: Path) -> dict[str, Any]:
    """The record that was written when the stage in `folder` was finished."""
    record: dict[str, Any] = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    return record


def fingerprint(value: Any) -> str:
    """Return the first FINGERPRINT_DIGITS hex digits of the SHA-256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def is_fingerprint(text: str) -> bool:
    """True if the text has a fingerprint's form; such a text is a folder's name and cannot lead elsewhere."""
    return re.fullmatch(f"[0-9a-f]{{{FINGERPRINT_DIGITS}}}", text) is not None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:80]}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, two-space indented with a final newline, atomically."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows (at least one) as CSV, atomically; the first row gives the columns."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def point_latest(stage_folder: Path, target: Path) -> None:
    """Make `latest` in a study's stage folder a link to `target`, or a text file where the disk has no links."""
    link, relative = stage_folder / LATEST, os.path.relpath(target, stage_folder)
    if link.is_symlink() and os.readlink(link) == relative:
        return
    with replacing(link) as partial:
        try:
            os.symlink(relative, partial, target_is_directory=True)
        except (
            OSError,
            NotImplementedError,
        ):  # exFAT and mounted drives: EPERM or ENOTSUP
            partial.write_text(relative + "\n", encoding="utf-8")


def followed(path: Path | str) -> Path:
    """Return `path`, in which a `latest` that is a text file is replaced by the folder that the file names."""
    path = Path(path)
    for part in (path, *path.parents):
        if part.name == LATEST and part.is_file():
            target = part.parent / part.read_text(encoding="utf-8").strip()
            return Path(os.path.normpath(target / path.relative_to(part)))
    return path
