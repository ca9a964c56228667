"""W&B runs that never block or fail a study, and progress for a terminal or a log.

Stages hand metrics, tables and artifacts to a `Log`; only this module imports wandb.
"""

import importlib.util
import json
import logging
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal, TypeVar

import numpy as np

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Mode = Literal["online", "offline", "disabled"]
Row = Mapping[str, object]
Metrics = Callable[[dict[str, Any]], None]  # takes the metrics of an epoch
Images = Callable[[], Sequence[np.ndarray]]  # uint8 [H, W, 3] each
ONLINE_TIMEOUT_S = 20
FINISH_TIMEOUT_S = 60
LONGEST_WAIT_S = 120  # for W&B, at the end of a run
FULL_BYTES = 64 * 1024  # a disk with less free space cannot take the end of a run
LINE_EVERY_S = 15
LONGEST_TAG, LONGEST_NAME = 64, 128  # characters that W&B accepts
STEPS = {"loss": "epoch", "val_*": "epoch", "images_per_second": "epoch", "head/val_*": "head/strength"}
_warned: set[str] = set()  # kinds of trouble that this process has warned of, once each


@dataclass(frozen=True)
class Artifact:
    """Small files of a finished stage. The same name and content are one version in W&B, whoever logs them.

    version: the stage's fingerprint. files: name in the artifact -> path; the files must not change later.
    """

    name: str
    kind: str
    version: str
    files: Mapping[str, Path]

    @property
    def label(self) -> str:
        """The name that W&B shows, with the version as its alias."""
        return f"{accepted(self.name)}:{self.version}"


@dataclass(frozen=True)
class Record:
    """The results of a finished stage for W&B. part: of the stage, if it is recorded as several runs.

    summary: values of the runs' table. tables, confusions: name -> rows. images: table -> its images, one per row; they
    are asked for only if the study's images may be shared.
    """

    part: str = ""
    summary: Row = field(default_factory=dict)
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    confusions: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    images: Mapping[str, Images] = field(default_factory=dict)
    artifacts: Sequence[Artifact] = ()


@dataclass(frozen=True)
class Job:
    """The work that a W&B run records. group: of runs that belong together. kind: of runs with the same columns.

    kind is W&B's `job_type`. reads: the artifacts that it was made from. share: False sends no image, code, git commit
    or console output.
    """

    project: str
    name: str
    group: str = ""
    kind: str = ""
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    reads: Sequence[Artifact] = ()
    share: bool = False


class Log:
    """A W&B run. A thread hands the values to W&B in the order of the calls, which do not wait for it."""

    def __init__(self, job: Job, online: Callable[[], bool] = lambda: False) -> None:
        self.job, self.online = job, online
        self.calls: SimpleQueue[Callable[[Any], object] | None] = SimpleQueue()

    def metrics(self, row: dict[str, Any]) -> None:
        """Metrics of an epoch or of another step, for a curve."""
        values = dict(row)
        self.calls.put(lambda run: run.log(values))

    def record(self, record: Record) -> None:
        """The results of a finished stage. Raises what `images` raises."""
        images = {name: ask() for name, ask in record.images.items()} if self.job.share else {}
        for name, rows in record.tables.items():
            self.calls.put(partial(log_table, name=name, rows=rows, images=images.get(name, ())))
        for name, rows in record.confusions.items():
            self.calls.put(partial(log_confusion, name=name, rows=rows))
        for artifact in record.artifacts:
            self.calls.put(partial(log_artifact, artifact=artifact, reads=self.job.reads))
        values = {name: value for name, value in record.summary.items() if is_shown(value)}
        self.calls.put(lambda run: run.summary.update(values))

    def use_reads(self) -> None:
        """Draw the lineage. Offline W&B refuses that: then only `inputs` of config and artifacts contain it."""
        for artifact in self.job.reads:
            self.calls.put(partial(self._use, artifact=artifact))

    def _use(self, run: Any, artifact: Artifact) -> None:
        if self.online():
            run.use_artifact(wandb_artifact(artifact))


class Silent(Log):
    """A run that is not tracked."""

    def __init__(self) -> None:
        super().__init__(Job("", ""))

    def metrics(self, row: dict[str, Any]) -> None: ...

    def record(self, record: Record) -> None: ...


@contextmanager
def wandb_run(mode: Mode, folder: Path, job: Job) -> Iterator[Log]:
    """Open a W&B run and yield its log. The block never waits for W&B; its end does, at most LONGEST_WAIT_S.

    Offline files are written to `folder`. If the server cannot be reached within 20 s, this run and the later ones of
    the process become offline ones. If it is lost later, the end of the run waits for it FINISH_TIMEOUT_S, the later
    runs are offline ones, and `wandb sync` sends the rest. Each kind of trouble is logged once per process and then
    ignored. If the block raises, the run is marked as failed.
    """
    if mode == "disabled" or "stuck" in _warned:
        yield Silent()
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else offline runs too send reports, and wait for them
    started = StartedRun(mode, folder, job)
    tracked = Log(job, lambda: started.mode == "online")
    tracked.use_reads()
    thread = Thread(target=started.serve, args=(tracked.calls,), name="wandb", daemon=True)
    thread.start()
    try:
        yield tracked
        started.exit_code = 0
    finally:
        tracked.calls.put(None)
        thread.join(LONGEST_WAIT_S)
        if thread.is_alive():
            warn_once("stuck", "W&B does not answer; from now on this process tracks nothing")
            end_service()


def from_server(ask: Callable[[], str]) -> str | None:
    """Return the result of a call to W&B's server; None, with a warning, if it fails or does not answer in time."""
    results: list[str] = []

    def call() -> None:
        try:
            results.append(ask())
        except Exception as error:
            warn_once("server", f"W&B's server did not do what was asked: {error}")

    thread = Thread(target=call, name="wandb", daemon=True)
    thread.start()
    thread.join(LONGEST_WAIT_S)
    if thread.is_alive():
        warn_once("server", f"W&B's server did not answer within {LONGEST_WAIT_S} s")
        end_service()
    return results[0] if results else None


class StartedRun:
    """A W&B run and the thread that talks to it. mode: how it was started in the end."""

    def __init__(self, mode: Mode, folder: Path, job: Job) -> None:
        self.mode, self.folder, self.job = mode, folder, job
        self.exit_code = 1

    def serve(self, calls: SimpleQueue[Callable[[Any], object] | None]) -> None:
        """Start the run, make the calls, and finish it after None. After an error the other calls are left out."""
        run = self.start()
        failed = run is None
        while (call := calls.get()) is not None:
            try:
                if not failed:
                    call(run)
            except Exception as error:
                failed = True
                warn_once("log", f"W&B stopped logging: {error}")
        if run is not None:
            self.finish(run)

    def start(self) -> Any:
        """The run; None if it cannot even be an offline one."""
        online = self.mode == "online" and "online" not in _warned
        attempts: Sequence[Mode] = ("online", "offline") if online else ("offline",)
        for self.mode in attempts:
            try:
                return wandb_init(self.mode, self.folder, self.job)
            except Exception as error:
                warn_once(self.mode, f"W&B {self.mode} is not available: {error}")
        return None

    def finish(self, run: Any) -> None:
        try:
            run.finish(exit_code=self.exit_code)
            if shutil.disk_usage(self.folder).free < FULL_BYTES:
                warn_once("full", f"W&B's files in {self.folder} are incomplete: the disk is full")
        except TimeoutError:
            lost = (
                f"W&B's server did not take all of {self.job.name} within {FINISH_TIMEOUT_S} s; later runs are offline"
            )
            warn_once("online", f"{lost}. Send the rest with: wandb sync {self.folder}/wandb/*run-*")
        except Exception as error:
            warn_once("finish", f"W&B could not finish its run: {error}")


def end_service() -> None:
    """End W&B's own process, which does not answer: Python would wait for it at its end, without a limit.

    W&B offers no public way; where a version has no such attributes, nothing is ended.
    """
    try:
        sys.modules["wandb"].setup()._connection._proc._process.kill()  # no import: that may be what hangs
    except Exception as error:
        log.debug("W&B's process was not ended: %s", error)


def warn_once(kind: str, message: str) -> None:
    """Log a warning if this process has not warned of this kind of trouble."""
    if kind not in _warned:
        _warned.add(kind)
        log.warning("%s", message)


def wandb_init(mode: Mode, folder: Path, job: Job) -> Any:
    """Start a run. Raises any error of W&B and of the disk."""
    import wandb  # slow to import, and not needed when tracking is disabled

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["WANDB_DATA_DIR"] = str(folder / "wandb")  # where files of tables wait to be sent; else the home folder
    run = wandb.init(
        project=accepted(job.project),
        name=job.name,
        group=job.group or None,
        job_type=job.kind or None,
        tags=[tag[:LONGEST_TAG] for tag in job.tags],
        config={**job.config, "inputs": [artifact.label for artifact in job.reads]},
        dir=folder,
        mode=mode,
        settings=wandb_settings(job.share),
    )
    for metric, step in STEPS.items():
        run.define_metric(metric, step_metric=step)
    return run


def wandb_settings(share: bool) -> Any:
    """Settings of one run; W&B reads environment variables only for the first run of a process."""
    import wandb

    wanted: dict[str, Any] = {
        "init_timeout": ONLINE_TIMEOUT_S,
        "login_timeout": ONLINE_TIMEOUT_S,
        "save_code": False,
        "disable_code": not share,
        "disable_git": not share,
        "console": "off",  # it contains names of files
    }
    wanted |= {"finish_timeout": FINISH_TIMEOUT_S, "finish_timeout_raises": True}
    if not share:  # folders and hosts can name people
        wanted |= {"x_disable_meta": True, "host": "not shared", "program": "", "x_executable": ""}
    known = wandb.Settings.model_fields  # the oldest supported versions lack some
    return wandb.Settings(**{name: value for name, value in wanted.items() if name in known})


def log_artifact(run: Any, artifact: Artifact, reads: Sequence[Artifact]) -> None:
    run.log_artifact(wandb_artifact(artifact, reads), aliases=["latest", artifact.version])


def wandb_artifact(artifact: Artifact, reads: Sequence[Artifact] = ()) -> Any:
    """The artifact as W&B's own. W&B gives the same name and content one version, so a reader can make it anew."""
    import wandb

    metadata = {"version": artifact.version, "inputs": [read.label for read in reads]}
    converted = wandb.Artifact(accepted(artifact.name), artifact.kind, metadata=metadata)
    for name, path in artifact.files.items():
        converted.add_file(str(path), name, policy="immutable", skip_cache=True)  # not copied: stages do not change
    with converted.new_file("version.json", encoding="utf-8") as file:  # two versions may have equal files
        json.dump({"version": artifact.version}, file)
    return converted


def log_table(run: Any, name: str, rows: Sequence[Row], images: Sequence[np.ndarray]) -> None:
    """Log a table. images: its first column, uint8 [H, W, 3] per row; empty for none."""
    import wandb

    columns: list[str | int] = [*rows[0]] if rows else []
    data = [list(row.values()) for row in rows]
    if len(images):
        columns = ["image", *columns]
        data = [[wandb.Image(image), *cells] for image, cells in zip(images, data, strict=True)]
    run.log({name: wandb.Table(columns=columns, data=data, allow_mixed_types=True)})


def log_confusion(run: Any, name: str, rows: Sequence[Row]) -> None:
    """Log a confusion matrix as W&B draws it. rows: `target`, then a count for each class."""
    import wandb

    columns: list[str | int] = ["Actual", "Predicted", "nPredictions"]
    data = [[row["target"], name, count] for row in rows for name, count in row.items() if name != "target"]
    counts = wandb.Table(columns=columns, data=data, allow_mixed_types=True)
    fields = {str(column): column for column in columns}
    run.log({name: wandb.plot_table("wandb/confusion_matrix/v1", counts, fields)})


def accepted(name: str) -> str:
    """The name with the characters that W&B accepts in names of projects and artifacts."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)[:LONGEST_NAME]


def is_shown(value: object) -> bool:
    """True for a text and for a finite number."""
    return isinstance(value, str | bool) or (isinstance(value, int | float) and math.isfinite(value))


def progress(items: Iterable[Item], what: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield `items` and show a progress bar on a terminal, or log a line every 15 s without a terminal or tqdm."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None:
        from tqdm import tqdm  # optional: `verify_onnx.py` must run without it

        yield from tqdm(items, desc=what, total=total, unit=unit, leave=False)
        return
    started = last_line = time.monotonic()
    for count, item in enumerate(items):
        now = time.monotonic()
        if now - last_line >= LINE_EVERY_S:
            last_line = now
            log.info("%s", progress_line(what, count, total, now - started, unit))
        yield item


def progress_line(what: str, count: int, total: int | None, seconds: float, unit: str) -> str:
    rate = count / seconds if seconds else 0.0
    remaining = f", {seconds_text((total - count) / rate)} left" if total and rate else ""
    return f"{what}: {count}{f' of {total}' if total else ''} {unit}, {rate:.1f} {unit}/s{remaining}"


def seconds_text(seconds: float) -> str:
    """Seconds up to two minutes, else whole minutes: "37 s", "about 17 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"
