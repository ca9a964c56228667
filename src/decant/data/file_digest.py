"""Digests of large files, computed once: each stage needs the digest of the data, which may be gigabytes."""

import hashlib
from functools import lru_cache
from pathlib import Path


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of the file's bytes, read once per process while its size and modification time stay the same."""
    stat = path.stat()
    return digest_of_version(path.absolute(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def digest_of_version(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
