"""The interface of all sources of images, and the code they share: where files are, and split files."""

import difflib
import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Protocol

from decant.data.images import BrokenImage
from decant.data.layout import split_of_name
from decant.data.sources.tables import need_columns, read_table
from decant.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListedImage:
    """One image that a source lists: a file, or a row of a table.

    path: source-relative, unique. given_label: the source's class name, or None. split: None if the source
    does not define it. problem: why the image cannot be read, if known before reading; else empty. aside: why a
    readable image is set aside; else empty. in_repeat: True in a folder that seems to repeat others; the image is set
    aside if an image outside such folders has the same bytes. auxiliary: its labels in `data.auxiliary_columns`, in
    their order. extra: 0 for the study's main source, else the number of the extra source, from 1.
    """

    path: str
    given_label: str | None
    split: str | None
    problem: str = ""
    aside: str = ""
    in_repeat: bool = False
    auxiliary: tuple[str | None, ...] = ()
    extra: int = 0


class Source(Protocol):
    """Images with their labels. Reading keeps no state: several threads may read at once."""

    @property
    def classes(self) -> list[str]:
        """Class names in the source's order, including unused ones."""

    def digest(self) -> str:
        """SHA-256 (hex) of everything that the source reads; for a folder, of paths, sizes and times."""

    def list_images(self) -> Iterator[ListedImage]:
        """Yield every image file and every table row once."""

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        """Yield the bytes of each path once, in any order; a BrokenImage for a file that cannot be read."""

    def read(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the bytes of each path once, in any order. Raises UserError if one can no longer be read."""

    def sample_submission(self) -> bytes | None:
        """The bytes of the sample submission; None if the study names no sample submission."""


class BaseSource:
    """The methods that all sources share. splits: path -> split of a split file."""

    def __init__(self, where: Path, splits: Mapping[str, str] | None = None) -> None:
        self.where = where
        self._splits = splits
        self._digests: list[str] = []  # of tables, class names and splits
        if splits is not None:
            self._also_digest(repr(sorted(splits.items())).encode())

    def _list_images(self) -> Iterable[ListedImage]:
        raise NotImplementedError

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        raise NotImplementedError

    def list_images(self) -> Iterator[ListedImage]:
        items = list(self._list_images())
        yield from items if self._splits is None else resplit(items, self._splits, self.where)

    def read(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for path, content in self.contents(paths):
            if isinstance(content, BrokenImage):
                raise UserError(f"{path} in {self.where} can no longer be read: {content}")
            yield path, content

    def sample_submission(self) -> bytes | None:
        return None

    def _also_digest(self, content: bytes) -> bytes:
        self._digests.append(hashlib.sha256(content).hexdigest())
        return content

    def _combined_digest(self, *parts: str) -> str:
        return hashlib.sha256(" ".join([*parts, *self._digests]).encode()).hexdigest()


def locate(data_root: Path, relative: str, what: str) -> Path:
    """data_root / relative. Raises UserError with the path and the nearest name if it is missing."""
    path = data_root / relative
    if path.exists():
        return path
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    try:
        siblings = sorted(item for item in os.listdir(missing.parent) if not item.startswith("."))
    except OSError:
        siblings = []
    similar = difflib.get_close_matches(missing.name, siblings, n=1)
    hint = f" Did you mean {similar[0]}?" if similar else ""
    raise UserError(
        f"{what} is missing: looked for {path}.{hint} Put it there, or set DECANT_DATA to the folder that "
        f"contains it (paths in a study are relative to DECANT_DATA, now {data_root})."
    )


def read_splits(content: bytes, where: str, encoding: str = "") -> dict[str, str]:
    """path -> train | val | test | predict, from a CSV with the columns path and split.

    Raises UserError for an unknown split or a path in two splits.
    """
    rows = read_table(content, where, encoding)
    for column in ("path", "split"):
        need_columns(list(rows[0]), {"split_file": column}, where)
    splits: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        split = split_of_cell(row["split"], f"{where}, row {number}")
        if splits.setdefault(row["path"], split) != split:
            raise UserError(f"{where}, row {number}: {row['path']} is in two splits")
    return splits


def split_of_cell(text: str, where: str) -> str:
    """train, val, test or predict, as a table names it. Raises UserError for anything else."""
    split = split_of_name(text)
    if split in (None, "unlabelled"):
        raise UserError(f"{where}: unknown split {text!r}; write train, val, test or predict")
    return split


def resplit(items: Sequence[ListedImage], splits: Mapping[str, str], where: Path) -> list[ListedImage]:
    """`items` with the splits of a split file; items that the file does not name keep their own.

    The file may begin all its paths with the folders that wrap the data set. Raises UserError if it names none of the
    items, or one in two splits.
    """
    paths = {item.path for item in items}
    split_of: dict[str, str] = {}
    for path, split in splits.items():
        if split_of.setdefault(path.removeprefix("./"), split) != split:
            raise UserError(f"The split file gives {path} two splits, with and without ./ before it. Remove one row.")
    start = max(wrapping_lengths(split_of), key=lambda length: len(paths & {path[length:] for path in split_of}))
    matched = {path[start:]: split for path, split in split_of.items() if path[start:] in paths}
    if not matched:
        example = next(iter(splits), "nothing")
        raise UserError(
            f"The split file names none of the images in {where} (it names {example}, for example). Check "
            "data.split_file."
        )
    absent = len(split_of) - len(matched)
    if absent:
        log.warning("the split file names %d images that are not in %s", absent, where)
    return [replace(item, split=matched.get(item.path, item.split)) for item in items]


def wrapping_lengths(paths: Collection[str]) -> list[int]:
    """The lengths, from 0 on, of the folders with which all of `paths` begin: "a/b/1.jpg" alone gives 0, 2 and 4."""
    ordered = sorted(paths)
    first, last = (path.split("/")[:-1] for path in (ordered[0], ordered[-1]))  # all others begin as both do
    common = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return list(accumulate((len(folder) + 1 for folder, _ in common), initial=0))
