"""Finds image files by the names that a table gives them."""

import copy
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Self
from urllib.parse import unquote

from decant.data.sources.class_names import nfc

log = logging.getLogger(__name__)
HOW = {
    "tail": "%d rows of %s name paths that are not here; matched by their end (%s: %s)",
    "number": "%d rows of %s name files by numbers without their leading zeros; matched by value (%s: %s)",
}


class FileLookup:
    """Finds files by the names that a table may use: path or file name, with or without extension, in any case.

    paths: of the files. folder: the names may omit it. found_by, examples: how rows were matched other than by name,
    with one example each.
    """

    def __init__(self, paths: Sequence[str], folder: str) -> None:
        self.folder = folder
        self.found_by: Counter[str] = Counter()
        self.examples: dict[str, tuple[str, str]] = {}
        self._by_name: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(5)]
        self._by_tail: dict[str, list[str]] = defaultdict(list)
        self._by_number: dict[str, list[str]] = defaultdict(list)
        self._whole = {nfc(self._inner(path)).lower() for path in paths}
        for path in paths:
            for by_name, name in zip(self._by_name, self._names(path), strict=True):
                by_name[name].append(path)
            for tail in tails(nfc(path).lower()):
                for name in {tail, without_extension(tail)}:
                    self._by_tail[name].append(path)
            number = without_extension(path.rpartition("/")[2])
            if number.isdecimal():
                self._by_number[without_zeros(number)].append(path)
        self._shared = 0

    def of_table(self, names: Sequence[str]) -> Self:
        """The same files for a table with these names.

        The folders that all names share are of the machine where the table was written, and need not exist here.
        """
        lookup = copy.copy(self)
        lookup.found_by, lookup.examples = Counter(), {}
        lookup._shared = shared_folders([normalised(name) for name in names if name])
        return lookup

    def find(self, name: str) -> tuple[str, str]:
        """(path, "") of the file called `name`, or ("", the reason). The strictest match wins."""
        if not name:
            return "", "the table names no file in this row"
        inner = normalised(name)
        inner = inner.removeprefix(f"{self.folder}/") if self.folder else inner
        for names in self._by_name:
            paths = names.get(inner, []) if names is not self._by_name[-1] else names.get(inner.lower(), [])
            if paths:
                return one_of(name, paths)
        if "%" in name and unquote(name) != name:  # my%20photo.jpg
            return self.find(unquote(name))
        return self._by_other_means(name, normalised(name).lower())

    def report(self, table: str) -> None:
        """Log one line for each way in which rows were matched other than by name."""
        for how, count in self.found_by.items():
            log.info(HOW[how], count, table, *self.examples[how])

    def _by_other_means(self, name: str, wanted: str) -> tuple[str, str]:
        candidates = [("tail", self._tail_matches(wanted)), ("number", self._number_matches(wanted))]
        for how, paths in candidates:
            if len(paths) == 1:
                self.found_by[how] += 1
                self.examples.setdefault(how, (name, paths[0]))
            if paths:
                return one_of(name, paths)
        return "", f"the table names {name!r}, but no such file exists"

    def _tail_matches(self, wanted: str) -> list[str]:
        """The files that share the longest end of the path, after the folders that the whole table shares.

        A shorter end counts only if it is the whole path of a file: a/1.jpg is not b/1.jpg.
        """
        for start, tail in enumerate(tails(wanted)):
            paths = self._by_tail.get(tail, [])
            if paths and (start <= self._shared or ("/" in tail and tail in self._whole)):
                return paths
        return []

    def _number_matches(self, wanted: str) -> list[str]:
        number = without_extension(wanted) if not re.fullmatch(r"\d+\.0+", wanted) else wanted.partition(".")[0]
        return self._by_number.get(without_zeros(number), []) if number.isdecimal() else []

    def _inner(self, path: str) -> str:
        return path[len(self.folder) + 1 :] if self.folder else path

    def _names(self, path: str) -> tuple[str, ...]:
        inner = nfc(self._inner(path))
        base = inner.rpartition("/")[2]
        return inner, without_extension(inner), base, without_extension(base), base.lower()


def one_of(name: str, paths: Sequence[str]) -> tuple[str, str]:
    if len(paths) == 1:
        return paths[0], ""
    return "", f"{len(paths)} files are called {name!r}: {paths[0]}, {paths[1]}"


def normalised(name: str) -> str:
    return nfc(name.replace("\\", "/").removeprefix("./"))


def without_extension(name: str) -> str:
    stem = name.rpartition(".")[0]
    return stem if stem and "/" not in name.rpartition(".")[2] else name


def without_zeros(number: str) -> str:
    return number.lstrip("0") or "0"


def tails(path: str) -> list[str]:
    """The path and its ends, longest first: a/b/c, b/c, c."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def shared_folders(names: Sequence[str]) -> int:
    """How many leading folders all names share."""
    folders = {name.rpartition("/")[0] for name in names}
    parts = [folder.split("/") if folder else [] for folder in sorted(folders)]
    shared = 0
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared
