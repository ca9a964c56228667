"""The error for a user's mistake, its one line on stderr with exit code 2, and suggestions for mistyped names."""

import difflib
import errno
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

log = logging.getLogger(__name__)
MENDS = {  # errors of the file system that a user can correct -> what to do
    errno.ENOSPC: "free some space, or give another place",
    errno.EDQUOT: "free some space, or give another place",
    errno.EACCES: "change its permissions, or give another place",
    errno.EROFS: "give another place",
    errno.ENOTDIR: "give a folder",
}


class UserError(Exception):
    """A mistake that the user can correct: what is wrong, where, what to do. Scripts print it and exit with 2."""


def nearest(name: str, known: Sequence[str]) -> str:
    """Return "did you mean X?" for the most similar known name, else the list of known names."""
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {similar[0]}?" if similar else f"known: {', '.join(known)}"


@contextmanager
def exit_on_user_error(stopped: str = "stopped") -> Iterator[None]:
    """End a UserError in one line on stderr and exit code 2, without a traceback. stopped: the line after Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        yield
    except UserError as error:
        log.error("error: %s", error)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in MENDS:
            raise
        path = error.filename or "a file"
        log.error("error: %s: %s; %s", path, error.strerror, MENDS[error.errno])
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        log.error("%s", stopped)
        raise SystemExit(130) from None
