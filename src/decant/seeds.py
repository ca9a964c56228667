"""Seeds: every purpose gets its own stream from the study's one seed, so that no two draw the same numbers."""

import hashlib


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2**32) that depends on the study's seed and on what it is for."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
