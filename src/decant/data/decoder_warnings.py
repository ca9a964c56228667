"""Warnings of Pillow while it decodes: recorded for the image, and never lines on the console."""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DECODERS = r"PIL\."  # modules
DECODER_FILE = re.compile(r"[/\\]PIL[/\\]")


class Messages(threading.local):
    """What was recorded in the calling thread."""

    def __init__(self) -> None:
        self.texts: list[str] = []


recorded = Messages()


@contextmanager
def recorded_warnings() -> Iterator[None]:
    """Record what decoders warn of in any thread, for `taken_warnings`, until the block ends.

    Enter it before the threads start: Python's filters of warnings belong to the process, not to a thread.
    """
    with warnings.catch_warnings():
        show = warnings.showwarning

        def record(message: Warning | str, category: type[Warning], filename: str, *where: Any, **more: Any) -> None:
            if DECODER_FILE.search(filename):
                recorded.texts.append(" ".join(str(message).split()))
            else:
                show(message, category, filename, *where, **more)

        warnings.showwarning = record
        warnings.filterwarnings("always", module=DECODERS)
        yield


def taken_warnings() -> list[str]:
    """The warnings recorded in the calling thread since its last call; none outside of `recorded_warnings`."""
    texts, recorded.texts = recorded.texts, []
    return texts
