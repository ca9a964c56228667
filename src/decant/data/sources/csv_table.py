"""A CSV of labels and a folder or an archive of images, the layout of Kaggle competitions."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decant.data.containers import Container
from decant.data.file_names import leads_out
from decant.data.images import BrokenImage
from decant.data.layout import is_below, wrapping
from decant.data.sources.base import Found, split_of_cell
from decant.data.sources.class_names import name_classes, whole_numbers
from decant.data.sources.file_lookup import FileLookup
from decant.data.sources.folder import ContainerSource
from decant.data.sources.tables import need_columns, read_table
from decant.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableLayout:
    """Where a table source finds its files. Folders are relative to the container, below the folders that wrap it."""

    table: str
    id_column: str = "id"
    label_column: str = "label"
    split_column: str = ""
    images: str = ""
    predict: str = ""
    sample_submission: str = ""
    class_file: str = ""
    encoding: str = ""
    auxiliary_columns: tuple[str, ...] = ()


class TableSource(ContainerSource):
    """Rows of a table matched to files by name, with or without extension; nested folders are searched.

    Each row and each image file occurs once: a row without a file has a problem, a file without a row is unlabelled
    (or to predict), and a file with two labels occurs once with each; cleaning decides between them.
    """

    def __init__(
        self,
        container: Container,
        data_root: Path,
        layout: TableLayout,
        splits: Mapping[str, str] | None = None,
    ) -> None:
        if not layout.table:
            raise UserError("data.source is csv, so data.table must name the CSV file.")
        named = [layout.table, layout.images, layout.predict, layout.sample_submission, layout.class_file]
        paths = [path for path in container.entries if not leads_out(path)]
        keep = [name.strip("/").split("/")[0] for name in named]
        super().__init__(container, wrapping(paths, 0, keep), splits, layout.encoding)
        self.table_name = layout.table
        self.images_folder, self.predict_folder = layout.images.strip("/"), layout.predict.strip("/")
        self.need_images_below(self.images_folder, "images")
        self.need_images_below(self.predict_folder, "predict")
        if layout.sample_submission:
            self.sample = self.side_file(layout.sample_submission, data_root, "the sample submission")
        names = self.class_file(layout.class_file, data_root)
        content = self.side_file(layout.table, data_root, "the table")
        rows = read_table(content, layout.table, layout.encoding)
        columns = {key: getattr(layout, key) for key in ("id_column", "label_column", "split_column")}
        need_columns(list(rows[0]), {key: column for key, column in columns.items() if column}, layout.table)
        for column in layout.auxiliary_columns:
            need_columns(list(rows[0]), {"auxiliary_columns": column}, layout.table)
        labels = whole_numbers([row[layout.label_column] for row in rows])
        self.classes, named_labels = name_classes(filter(None, labels), names)
        self._alias: dict[str, str] = {}  # path of another row of a file -> path of the file
        ids = [row[layout.id_column] for row in rows]
        matched = self._matched(ids, [named_labels.get(label) for label in labels], row_splits(rows, layout))
        self._items = with_auxiliary(list(matched), [[row[c] for c in layout.auxiliary_columns] for row in rows])
        self._warn_of_lost_rows(layout, len(rows))

    def _found(self) -> Iterator[Found]:
        yield from self._items

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        wanted: dict[str, list[str]] = defaultdict(list)
        for path in dict.fromkeys(paths):
            wanted[self._alias.get(path, path)].append(path)
        for path, content in super().contents(list(wanted)):
            yield from ((name, content) for name in wanted[path])

    def _warn_of_lost_rows(self, layout: TableLayout, rows: int) -> None:
        """Warn if some rows name no image. Raises UserError if none of them does."""
        images = self.images()
        lost = [item for item in self._items if item.problem and "#row " in item.path and item.path not in self._alias]
        if not lost:
            return
        message = f"{len(lost)} of {rows} rows of {layout.table} name no image: {lost[0].problem}"
        example = next(iter(images))
        remedy = f"An image is called {example!r}. Check data.id_column, data.images and data.path"
        if len(lost) == rows:
            raise UserError(f"{message}. {remedy}.")
        log.warning("%s. %s", message, remedy)

    def _matched(
        self, ids: Sequence[str], labels: Sequence[str | None], splits: Sequence[str | None]
    ) -> Iterator[Found]:
        images = self.images()
        lookup = FileLookup([path for path in images if self._may_be_named(path)], self.images_folder).of_table(ids)
        first: dict[str, tuple[int, str | None]] = {}
        for number, (name, label, split) in enumerate(zip(ids, labels, splits, strict=True), 2):
            path, problem = lookup.find(name)
            if not path:
                yield Found(f"{self._below(name or 'row')}#row {number}", label, split, problem)
            elif path not in first:
                first[path] = (number, label)
                yield Found(path, label, split, images[path].problem)
            else:
                yield replace(self._repeated(path, number, label, first[path]), split=split)
        lookup.report(self.table_name)
        for path, entry in images.items():
            if path not in first:
                yield Found(path, None, "predict" if is_below(path, self.predict_folder) else None, entry.problem)

    def _repeated(self, path: str, number: int, label: str | None, first: tuple[int, str | None]) -> Found:
        """The item of another row of the same file: a conflicting label is kept, a repetition has a problem."""
        row = f"{path}#row {number}"
        self._alias[row] = path
        problem = "" if label not in (None, first[1]) else f"the table names it twice (rows {first[0]} and {number})"
        return Found(row, label, None, problem)

    def _may_be_named(self, path: str) -> bool:
        if self.images_folder:
            return is_below(path, self.images_folder)
        return not is_below(path, self.predict_folder)

    def _below(self, name: str) -> str:
        return f"{self.images_folder}/{name}" if self.images_folder else name


def row_splits(rows: Sequence[Mapping[str, str]], layout: TableLayout) -> list[str | None]:
    """The split of each row; None where the table does not define it. Raises UserError for an unknown split."""
    column = layout.split_column
    cells = [row[column] if column else "" for row in rows]
    where = f"{layout.table} (data.split_column), row"
    return [split_of_cell(cell, f"{where} {number}") if cell else None for number, cell in enumerate(cells, 2)]


def with_auxiliary(items: Sequence[Found], cells: Sequence[Sequence[str]]) -> list[Found]:
    """The items with their labels in the auxiliary columns.

    items: one per row of the table, in order, then others. cells: of each row in these columns.
    """
    columns = [whole_numbers(column) for column in zip(*cells, strict=True)]
    labels = [tuple(cell or None for cell in row) for row in zip(*columns, strict=True)]
    first = [replace(item, auxiliary=of_row) for item, of_row in zip(items, labels, strict=False)]
    return [*first, *items[len(first) :]]
