"""The time until which a request is answered, shared by everything that it waits for."""

import time
from dataclasses import dataclass, field

RECEIVED = "decant.received"  # key of the WSGI environment: when all of the request was received


class Busy(Exception):
    """There was no answer before the deadline, because too many images wait."""


@dataclass(frozen=True)
class Deadline:
    """`seconds` after `begun`, a time of `time.monotonic`."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; 0 if it has passed."""
        return max(0.0, self.begun + self.seconds - time.monotonic())

    def busy(self, missing: str) -> Busy:
        """The error of a request that waited until the deadline. missing: what it did not get, as "no prediction"."""
        return Busy(f"{missing} within {self.seconds:g} s: too many images wait; try again later")
