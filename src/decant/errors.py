"""The one error that is meant for the person at the keyboard, and how a script tells it."""

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class UserError(Exception):
    """Something the user can mend: what was wrong, where, what to do. Scripts print it and exit with 2."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Let a user's mistake end in one line on stderr and exit code 2, without a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        yield
    except UserError as error:
        log.error("error: %s", error)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        log.error("error: cannot write %s: %s. Free some space or give another place", error.filename, error.strerror)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        log.error("stopped; the same command goes on from here")
        raise SystemExit(130) from None
