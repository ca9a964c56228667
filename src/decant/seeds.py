"""Seeds: each purpose gets its own stream of random numbers, derived from the one seed of the study."""

import hashlib


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in [0, 2**32) that depends on the study's seed and on the purpose."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
