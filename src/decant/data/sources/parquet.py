"""Parquet tables with the image bytes in a column, the layout of image data sets on the Hugging Face hub."""

import glob
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from decant.data.file_digest import file_digest
from decant.data.images import BrokenImage
from decant.data.layout import split_of_name
from decant.data.sources.base import BaseSource, ListedImage, locate
from decant.data.sources.class_names import class_lines, name_classes
from decant.data.sources.tables import FURTHER, as_label, need_columns
from decant.errors import UserError

log = logging.getLogger(__name__)
PARQUET_ENDINGS = (".parquet", ".pq")
DAMAGED = (pa.ArrowException, OSError)
NO_BYTES = (
    "the table contains the name of a file and not its bytes: write a column with the file names as text and read it "
    "as a table (data.source: csv, data.table: the Parquet file)"
)
UNLABELLED = {None, "", "-1"}  # the hub writes -1 for labels that it withholds


@dataclass(frozen=True)
class ParquetLayout:
    """Which files and columns are read.

    train, val, test: a file or a pattern (`train-*.parquet`); "" for the files whose name, or whose folder's name,
    means the split: train-00000-of-00002.parquet, validation.parquet, dev/0000.parquet.
    """

    train: str = ""
    val: str = ""
    test: str = ""
    image_column: str = "image"
    label_column: str = "label"
    class_file: str = ""
    encoding: str = ""
    auxiliary_columns: tuple[str, ...] = ()


class ParquetSource(BaseSource):
    """One image per row; the path of a row is "<file>#<index>", counted from 0 in its file.

    label_column: contains the given labels of train. If a val or test file lacks it, its column `label` is used; a test
    file with neither contains the images to predict, and the images of a val file with neither are set aside.
    """

    def __init__(
        self, folder: Path, data_root: Path, layout: ParquetLayout, splits: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(folder, splits)
        self.layout = layout
        self._files = parquet_files(folder, layout)
        schemas = {name: read_schema(folder / name) for _, name in self._files}
        for name, schema in schemas.items():
            need_columns(schema.names, {"image_column": layout.image_column}, f"{folder / name}")
        names = None
        if layout.class_file:
            file = locate(
                folder if (folder / layout.class_file).is_file() else data_root,
                layout.class_file,
                "the class file",
            )
            names = class_lines(self._also_digest(file.read_bytes()), str(file), layout.encoding)
        self._labels = {name: self._read_labels(split, name, schemas[name]) for split, name in self._files}
        self._auxiliary = {name: self._read_auxiliary(split, name, schemas[name]) for split, name in self._files}
        given = {label for labels in self._labels.values() if labels for label in labels if label is not None}
        self.classes, self._named = self._name_classes(given, names, schemas)

    def digest(self) -> str:
        return self._combined_digest(*(file_digest(self.where / name) for _, name in self._files))

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        wanted: dict[str, set[int]] = defaultdict(set)
        for path in paths:
            name, _, index = path.rpartition("#")
            wanted[name].add(int(index))
        for name, rows in wanted.items():
            for row, content in self._rows(name, rows):
                yield f"{name}#{row}", content

    def _list_images(self) -> Iterator[ListedImage]:
        for split, name in self._files:
            labels = self._labels[name]
            if labels is None or (split == "test" and all(label is None for label in labels)):
                count = pq.read_metadata(self.where / name).num_rows
                unlabelled_split = {"test": "predict", "val": "val"}.get(split)
                yield from (ListedImage(f"{name}#{index}", None, unlabelled_split) for index in range(count))
                continue
            auxiliary = self._auxiliary[name] or [()] * len(labels)
            for index, (label, further) in enumerate(zip(labels, auxiliary, strict=True)):
                known = self._named[label] if label is not None else None
                yield ListedImage(f"{name}#{index}", known, split, auxiliary=further)

    def _read_labels(self, split: str, name: str, schema: pa.Schema) -> list[str | None] | None:
        column = self.layout.label_column
        if not column:
            return None  # an extra source without labels
        if split == "train":
            need_columns(schema.names, {"label_column": column}, f"{self.where / name}")
        elif column not in schema.names:
            if "label" not in schema.names:
                return None
            log.info("%s has no column %s; its column label is used instead", name, column)
            column = "label"
        return self._cells(name, schema, column)

    def _read_auxiliary(self, split: str, name: str, schema: pa.Schema) -> list[tuple[str | None, ...]]:
        """The labels of each row in the auxiliary columns; None where a val or test file lacks a column."""
        columns = self.layout.auxiliary_columns
        for column in columns if split == "train" else ():
            need_columns(schema.names, {FURTHER: column}, f"{self.where / name}")
        missing = [None] * pq.read_metadata(self.where / name).num_rows if columns else []
        cells = [self._cells(name, schema, column) if column in schema.names else missing for column in columns]
        return list(zip(*cells, strict=True))

    def _cells(self, name: str, schema: pa.Schema, column: str) -> list[str | None]:
        """The labels in a column of a file. Raises UserError if it is damaged or a cell contains several."""
        refuse_several_labels(schema.field(column), f"{self.where / name}")
        try:
            values = pq.read_table(self.where / name, columns=[column]).column(0).to_pylist()
        except DAMAGED as error:
            raise damaged(self.where / name, error) from error
        return [None if text in UNLABELLED else text for text in map(as_label, values)]

    def _label_column(self, schema: pa.Schema) -> str:
        """The column of the labels in a file: `label` in a val or test file that lacks the column of train."""
        return self.layout.label_column if self.layout.label_column in schema.names else "label"

    def _name_classes(
        self, given: set[str], names: list[str] | None, schemas: Mapping[str, pa.Schema]
    ) -> tuple[list[str], dict[str, str]]:
        if names is not None:
            return name_classes(given, names)
        for schema in schemas.values():
            names = schema_classes(schema, self._label_column(schema))
            if names and all(label in names or (label.isdecimal() and int(label) < len(names)) for label in given):
                return name_classes(given, names)
        return name_classes(given, None)

    def _rows(self, name: str, indices: set[int]) -> Iterator[tuple[int, bytes | BrokenImage]]:
        start = 0
        with pq.ParquetFile(self.where / name) as file:
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                if any(start <= index < end for index in indices):
                    cells = self._row_group(file, group)
                    for index in sorted(index for index in indices if start <= index < end):
                        yield (
                            index,
                            cells if isinstance(cells, BrokenImage) else image_bytes(cells[index - start].as_py()),
                        )
                start = end

    def _row_group(self, file: pq.ParquetFile, group: int) -> pa.ChunkedArray | BrokenImage:
        try:
            return file.read_row_group(group, columns=[self.layout.image_column]).column(0)
        except DAMAGED as error:
            return BrokenImage(f"this part of the parquet file is damaged: {error}")


def read_schema(path: Path) -> pa.Schema:
    """The schema of a file. Raises UserError if the file is damaged."""
    try:
        return pq.read_schema(path)
    except DAMAGED as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a Parquet file or is damaged ({error}). Fetch it again.")


def parquet_files(folder: Path, layout: ParquetLayout) -> list[tuple[str, str]]:
    """(split, path below `folder`) of each file, train first. Raises UserError if there is none to train on."""
    if not folder.is_dir():
        raise UserError(f"data.path must be a folder with parquet files, but {folder} is a file.")
    present = parquet_names(folder)
    matches, requested = {}, {split: getattr(layout, split) for split in ("train", "val", "test")}
    for split, pattern in requested.items():
        matches[split] = sorted(glob.glob(pattern, root_dir=folder)) if pattern else of_split(present, split)
        if pattern and not matches[split]:
            locate(folder, pattern, f"data.{split}")
    files = each_in_one_split(matches, requested)
    unused = sorted(set(present) - {Path(name).as_posix() for _, name in files})
    guessed = [f"{split}: {name}" for split, name in files if not getattr(layout, split) and not name.startswith(split)]
    if guessed:
        log.info("Parquet files by the split that their names mean: %s", ", ".join(guessed[:5]))
    if unused and files:
        log.warning(
            "%d Parquet files in %s belong to no split and are not read (%s): name them as data.train, data.val or "
            "data.test (a pattern: data.val: dev-*.parquet)",
            len(unused), folder, ", ".join(unused[:5]),
        )  # fmt: skip
    if not any(split == "train" for split, _ in files):
        raise UserError(
            f"{folder} contains no train*.parquet ({', '.join(present) or 'no parquet file at all'}). Name the "
            "file to train on as data.train, relative to data.path."
        )
    return files


def each_in_one_split(matches: Mapping[str, Sequence[str]], requested: Mapping[str, str]) -> list[tuple[str, str]]:
    """(split, file) of each file; `train: "*.parquet"` leaves the files of val and test to these.

    A file that several splits match belongs to the split that matches the fewest files; a requested split comes before
    one that is known by names. matches: split -> files. requested: split -> the study's pattern, or "". Raises
    UserError if two requested splits match as many files, or if a requested split is left without a file.
    """
    candidates: dict[str, list[tuple[int, bool, str]]] = defaultdict(list)
    for split, names in matches.items():
        for name in names:
            candidates[Path(name).as_posix()].append((len(names), not requested[split], split))
    split_of = {}
    for name, (first, *others) in ((name, sorted(splits)) for name, splits in candidates.items()):
        if others and others[0][:2] == first[:2]:
            raise UserError(f"data.{first[2]} and data.{others[0][2]} both take {name}: name it for one split only.")
        split_of[name] = first[2]
    files = [(split, name) for split in matches for name in matches[split] if split_of[Path(name).as_posix()] == split]
    for split, pattern in requested.items():
        if pattern and not any(owner == split for owner, _ in files):
            raise UserError(f"data.{split}: each file that {pattern!r} matches is of another split. Name other files.")
    return files


def parquet_names(folder: Path) -> list[str]:
    """The Parquet files below a folder, in any case: train.parquet, TRAIN.PARQUET, train.pq."""
    files = (path for path in folder.rglob("*.*") if is_parquet(path.name))
    return sorted(path.relative_to(folder).as_posix() for path in files)


def is_parquet(name: str) -> bool:
    return name.lower().endswith(PARQUET_ENDINGS)


def of_split(names: Sequence[str], split: str) -> list[str]:
    """The files that belong to a split by their name, or else by the name of their folder."""
    return [name for name in names if split_of_file(name) == split]


def split_of_file(name: str) -> str | None:
    """The split that a file's name begins with, as the hub and others write it; else that of its folder."""
    folder, _, base = name.rpartition("/")
    first = base.rpartition(".")[0].split("-")[0].split(".")[0]
    return split_of_name(first) or (split_of_name(folder.rpartition("/")[2]) if folder else None)


def refuse_several_labels(field: pa.Field, where: str) -> None:
    """Raise UserError if a cell of the column contains several values."""
    if pa.types.is_nested(field.type):
        raise UserError(
            f"{where}: the column {field.name!r} contains {field.type}, several values per image, but an image has one "
            "label here. Set data.label_column to a column with one label per image."
        )


def schema_classes(schema: pa.Schema, label_column: str) -> list[str] | None:
    """Class names in a schema's metadata: the hub's ClassLabel names, or a key `classes` or `class_names`."""
    metadata: dict[bytes, bytes] = schema.metadata or {}
    if b"huggingface" in metadata:
        features = as_json(metadata[b"huggingface"])
        features = features.get("info", features) if isinstance(features, dict) else {}
        features = features.get("features", features)
        feature = features.get(label_column)
        if isinstance(feature, dict) and isinstance(feature.get("names"), list):
            return [str(name) for name in feature["names"]]
    if label_column != "label":  # these keys do not say which column they belong to
        return None
    for key in (b"classes", b"class_names"):
        if key in metadata:
            names = as_json(metadata[key])
            if isinstance(names, list):
                return [str(name) for name in names]
            return [name.strip() for name in metadata[key].decode().split(",")]
    return None


def as_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def image_bytes(value: Any) -> bytes | BrokenImage:
    """The bytes of a cell: the hub's struct {bytes, path}, or plain bytes."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes):
        return content
    if isinstance(content, str) or (isinstance(value, dict) and value.get("path")):
        return BrokenImage(NO_BYTES)
    return BrokenImage("the table contains no bytes for this row")
