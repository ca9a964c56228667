"""The digest of a file: the right one, and read once."""

import hashlib
import os
from pathlib import Path

from decant.data.file_digest import digest_of_version, file_digest


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(b"one")
    digest_of_version.cache_clear()
    assert file_digest(path) == file_digest(path) == hashlib.sha256(b"one").hexdigest()
    assert digest_of_version.cache_info().misses == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 10**18))
    assert file_digest(path) == hashlib.sha256(b"two").hexdigest()
