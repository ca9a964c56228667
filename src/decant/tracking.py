"""W&B runs that never block or fail a study, and progress for a terminal or a log."""

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
    """Open a W&B run and yield a function that logs a dict of metrics.

    Offline files are written to `folder`. If the server cannot be reached within 20 s, the run becomes an offline one.
    If the connection is lost later, the end of the run waits at most 60 s; `wandb sync` sends the rest. An error inside
    W&B is logged once and then ignored. If the block raises, the run is marked as failed. Code and git diff are sent
    only with `share_code`.
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
    import wandb  # slow to import, and not needed when tracking is disabled

    folder.mkdir(parents=True, exist_ok=True)
    # Passed to each run, because W&B reads environment variables only for the first run of a process.
    wanted: dict[str, Any] = {
        "init_timeout": ONLINE_TIMEOUT_S,
        "login_timeout": ONLINE_TIMEOUT_S,
        "save_code": False,
        "disable_code": not share_code,
        "disable_git": not share_code,
    }
    if "finish_timeout" in wandb.Settings.model_fields:  # missing in the oldest supported versions
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
    """Return a function that logs to the run and never raises. After the first failure it warns and stops."""
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
    left = f", {seconds_text((total - count) / rate)} left" if total and rate else ""
    return f"{what}: {count}{f' of {total}' if total else ''} {unit}, {rate:.1f} {unit}/s{left}"


def seconds_text(seconds: float) -> str:
    """Seconds up to two minutes, else whole minutes: "37 s", "about 17 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"
