"""Meaning of folder names: which folders are splits, and which only wrap a data set."""

from collections.abc import Sequence

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def wrapping(paths: Sequence[str], levels: int = 1, keep: Sequence[str] = ()) -> str:
    """The folders, "a/b/" or "", that contain all of `paths` and so carry no information.

    Split folders and those of `keep` never count as wrapping. levels: at least one file keeps this many folder levels
    below the wrapping (1: the class folders).
    """
    prefix = ""
    while paths:
        inner = [path[len(prefix) :].split("/") for path in paths]
        first = inner[0][0]
        if any(parts[0] != first or len(parts) == 1 for parts in inner):
            break
        if first.lower() in SPLIT_NAMES or first in keep or max(map(len, inner)) < levels + 2:
            break
        prefix += first + "/"
    return prefix


def unwrapped(path: str, prefix: str) -> str:
    return path[len(prefix) :] if path.startswith(prefix) else path


def is_below(path: str, folder: str) -> bool:
    return bool(folder) and path.startswith(folder + "/")
