"""The interface of all sources of images, and the code they share: tables, class names and split files."""

import csv
import difflib
import hashlib
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from decant.data.images import BrokenImage
from decant.data.layout import SPLIT_NAMES
from decant.errors import UserError

log = logging.getLogger(__name__)

ENCODINGS = ("utf-8-sig", "cp1252")


@dataclass(frozen=True)
class Found:
    """One file or table row that a source lists.

    path: source-relative, unique. given_label: the source's class name, or None. split: None if the source
    does not define it. problem: why the image cannot be read, if known before reading; else empty.
    """

    path: str
    given_label: str | None
    split: str | None
    problem: str = ""


class Source(Protocol):
    """Images with their labels. Reading keeps no state: several threads may read at once."""

    @property
    def classes(self) -> list[str]:
        """Class names in the source's order, including unused ones."""

    def digest(self) -> str:
        """SHA-256 (hex) of everything that the source reads; for a folder, of paths, sizes and times."""

    def found(self) -> Iterator[Found]:
        """Yield every image file and every table row once."""

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        """Yield the bytes of each path once, in any order; a BrokenImage for a file that cannot be read."""

    def read(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the bytes of each path once, in any order. Raises UserError if one can no longer be read."""

    def sample_submission(self) -> bytes | None:
        """The bytes of the sample submission; None if the study names no sample submission."""


class BaseSource:
    """The methods that all sources share."""

    def __init__(self, where: Path, splits: Mapping[str, str] | None = None) -> None:
        self.where = where
        self._splits = splits
        self._digests: list[str] = []  # of tables, class names and splits
        if splits is not None:
            self._also_digest(repr(sorted(splits.items())).encode())

    def _found(self) -> Iterable[Found]:
        raise NotImplementedError

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        raise NotImplementedError

    def found(self) -> Iterator[Found]:
        items = list(self._found())
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


def text_of(content: bytes) -> str:
    """Decode a text file: UTF-8, with or without a byte order mark, else Windows-1252."""
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def read_table(content: bytes, where: str) -> list[dict[str, str]]:
    """The rows of a CSV with a header, separated by comma, semicolon or tab; short rows get empty cells.

    Raises UserError if there is no header, a column name occurs twice, or a row is longer than the header.
    """
    text = text_of(content)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise UserError(f"{where} is not a CSV file: {error} (line {reader.line_num})") from error
    if not lines or not any(lines[0]):
        raise UserError(f"{where} is empty: its first line must contain the names of the columns")
    columns = lines[0]
    if len(set(columns)) < len(columns):
        raise UserError(f"{where} has a column name twice: {', '.join(columns)}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) > len(columns) and any(line[len(columns) :]):
            raise UserError(f"{where}, row {number}: {len(line)} cells, but the header has {len(columns)}")
        if any(line):
            rows.append(dict(zip(columns, line + [""] * len(columns), strict=False)))
    return rows


def need_columns(columns: Sequence[str], wanted: Mapping[str, str], where: str) -> None:
    """Raise UserError, with the existing columns, if one is missing. wanted: key of the study -> column."""
    for key, column in wanted.items():
        if column not in columns:
            similar = difflib.get_close_matches(column, columns, n=1, cutoff=0.5)
            hint = f" Did you mean {similar[0]!r}?" if similar else ""
            raise UserError(
                f"{where} has no column {column!r}; it has {', '.join(map(repr, columns)) or 'none'}.{hint} "
                f"Set data.{key} in the study."
            )


def class_lines(content: bytes, where: str) -> list[str]:
    """Class names, one per line. Raises UserError if there is no name or a name occurs twice."""
    names = [line.strip() for line in text_of(content).splitlines() if line.strip()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        detail = f"; {repeated[0]} occurs twice" if repeated else ""
        raise UserError(f"{where} must contain one class name per line{detail}")
    return names


def name_classes(values: Iterable[str], names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """(class names in order, label as the source writes it -> class name).

    Without `names`, each label is a class name: numbers in numerical order, then the others in alphabetical order.
    With `names`, a label is a name or its index from 0. Raises UserError for any other label.
    """
    labels = sorted(
        set(values), key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)
    )
    if names is None:
        return labels, {label: label for label in labels}
    if all(label in names for label in labels):
        return list(names), {label: label for label in labels}
    mapping = {}
    for label in labels:
        if not label.isdecimal() or int(label) >= len(names):
            similar = difflib.get_close_matches(label, names, n=1)
            hint = f" Did you mean {similar[0]!r}?" if similar else ""
            raise UserError(f"The label {label!r} is not among the {len(names)} class names.{hint}")
        mapping[label] = names[int(label)]
    return list(names), mapping


def read_splits(content: bytes, where: str) -> dict[str, str]:
    """path -> train | val | test | predict, from a CSV with the columns path and split.

    Raises UserError for an unknown split or a path in two splits.
    """
    rows = read_table(content, where)
    need_columns(list(rows[0]) if rows else [], {"split_file": "path"}, where)
    need_columns(list(rows[0]), {"split_file": "split"}, where)
    splits: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        split = {**SPLIT_NAMES, "predict": "predict"}.get(row["split"].lower())
        if split is None:
            raise UserError(f"{where}, row {number}: unknown split {row['split']!r}; write train, val, test or predict")
        if splits.setdefault(row["path"], split) != split:
            raise UserError(f"{where}, row {number}: {row['path']} is in two splits")
    return splits


def resplit(items: Sequence[Found], splits: Mapping[str, str], where: Path) -> list[Found]:
    """`items` with the splits of a split file; items that the file does not name keep their own.

    The file may name paths with or without the folders that wrap the data set. Raises UserError if it names none of
    the items.
    """
    paths = {item.path for item in items}
    matched = {path: split for path, split in splits.items() if path in paths}
    for path, split in splits.items():
        if path not in matched:
            inner = path.removeprefix("./")
            while inner and inner not in paths:
                inner = inner.partition("/")[2]
            if inner:
                matched.setdefault(inner, split)
    if not matched:
        example = next(iter(splits), "nothing")
        raise UserError(
            f"The split file names none of the images in {where} (it names {example}, for example). Check "
            "data.split_file."
        )
    absent = len(splits) - len(matched)
    if absent:
        log.warning("the split file names %d images that are not in %s", absent, where)
    return [replace(item, split=matched.get(item.path, item.split)) for item in items]
