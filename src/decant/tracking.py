"""Tracking: W&B runs that never block, and progress that suits a terminal or a log."""

import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Mode = Literal["online", "offline", "disabled"]
Log = Callable[[dict[str, Any]], None]
ONLINE_TIMEOUT_S = 20
FINISH_TIMEOUT_S = 60
LINE_EVERY_S = 15


@contextmanager
def wandb_run(
    mode: Mode, folder: Path, project: str, name: str, config: dict[str, Any], share_code: bool = False
) -> Iterator[Log]:
    """A W&B run as a function that logs a dict of metrics.

    Offline files go to `folder`. A server that cannot be reached within 20 s turns the run into an offline
    one, one that is lost later holds up the end for 60 s at most (`wandb sync` sends the rest), and an error of
    W&B's own is logged once and then ignored: tracking never fails a run. A block that raises ends its run as failed.
    No code and no git diff is sent unless `share_code`.
    """
    if mode == "disabled":
        yield lambda metrics: None
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    run = start_wandb(mode, folder, project, name, config, share_code)
    exit_code = 1
    try:
        yield quietly(run)
        exit_code = 0
    finally:
        if run is not None:
            try:
                run.finish(exit_code=exit_code)
            except Exception as error:
                log.warning("W&B could not finish its run: %s", error)


def start_wandb(mode: Mode, folder: Path, project: str, name: str, config: dict[str, Any], share_code: bool) -> Any:
    import wandb  # slow to import, and not needed when disabled

    folder.mkdir(parents=True, exist_ok=True)
    # Passed to each run: W&B reads the environment once a process, so its switches there hold for the first run only.
    wanted: dict[str, Any] = {
        "init_timeout": ONLINE_TIMEOUT_S,
        "login_timeout": ONLINE_TIMEOUT_S,
        "save_code": False,
        "disable_code": not share_code,
        "disable_git": not share_code,
    }
    if "finish_timeout" in wandb.Settings.model_fields:  # not in the oldest versions that serve
        wanted["finish_timeout"] = FINISH_TIMEOUT_S
    attempts: Sequence[Mode] = ("online", "offline") if mode == "online" else ("offline",)
    for attempt in attempts:
        try:
            settings = wandb.Settings(**wanted)
            return wandb.init(project=project, name=name, config=config, dir=folder, mode=attempt, settings=settings)
        except Exception as error:
            log.warning("W&B %s is not available: %s", attempt, error)
    return None


def quietly(run: Any) -> Log:
    """Log to the run; the first failure is told, all are survived."""
    failed = False

    def log_metrics(metrics: dict[str, Any]) -> None:
        nonlocal failed
        if run is None or failed:
            return
        try:
            run.log(metrics)
        except Exception as error:
            failed = True
            log.warning("W&B stopped logging: %s", error)

    return log_metrics


def progress(items: Iterable[Item], what: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Pass `items` through with a bar on a terminal, or a line every 15 s where there is none (or no tqdm)."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None:
        from tqdm import tqdm  # not above: a machine that only verifies a file may lack it

        yield from tqdm(items, desc=what, total=total, unit=unit, leave=False)
        return
    started = said = time.monotonic()
    for count, item in enumerate(items):
        now = time.monotonic()
        if now - said >= LINE_EVERY_S:
            said = now
            log.info("%s", progress_line(what, count, total, now - started, unit))
        yield item


def progress_line(what: str, count: int, total: int | None, seconds: float, unit: str) -> str:
    rate = count / seconds if seconds else 0.0
    left = f", {(total - count) / rate:.0f} s left" if total and rate else ""
    return f"{what}: {count}{f' of {total}' if total else ''} {unit}, {rate:.1f} {unit}/s{left}"
