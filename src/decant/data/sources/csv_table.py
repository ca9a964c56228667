"""A CSV of labels and a folder or an archive of images, the layout of Kaggle competitions."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decant.data.containers import Container
from decant.data.file_names import leads_out
from decant.data.images import BrokenImage
from decant.data.layout import is_below, split_of_path, split_of_table, wrapping
from decant.data.sources.base import ListedImage, split_of_cell
from decant.data.sources.class_names import name_classes, whole_numbers
from decant.data.sources.file_lookup import FileLookup
from decant.data.sources.folder import ContainerSource
from decant.data.sources.tables import FURTHER, need_columns, read_table
from decant.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableLayout:
    """Where a table source finds its files. Folders are relative to the container, below the folders that wrap it.

    tables: one, or one per split; the names of several, or of their folders, say which.
    """

    tables: tuple[str, ...]
    id_column: str = "id"
    label_column: str = "label"
    split_column: str = ""
    images: str = ""
    predict: str = ""
    sample_submission: str = ""
    class_file: str = ""
    encoding: str = ""
    auxiliary_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A row of a table.

    where: the row's number, after the table's name if there are several tables. name: of the image's file, as written.
    table_split: of all rows of the table, if there are several tables; else None.
    """

    table: str
    number: int
    where: str
    name: str
    label: str
    split: str | None
    table_split: str | None
    auxiliary: tuple[str, ...] = ()


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
        if not any(layout.tables):
            raise UserError("data.source is csv, so data.table must name the CSV file.")
        study_paths = [*layout.tables, layout.images, layout.predict, layout.sample_submission, layout.class_file]
        paths = [path for path in container.entries if not leads_out(path)]
        keep = [name.strip("/").split("/")[0] for name in study_paths]
        super().__init__(container, wrapping(paths, 0, keep), splits, layout.encoding)
        self.table_name = ", ".join(layout.tables)
        self.images_folder, self.predict_folder = layout.images.strip("/"), layout.predict.strip("/")
        self.need_images_below(self.images_folder, "images")
        self.need_images_below(self.predict_folder, "predict")
        if layout.sample_submission:
            self.sample = self.side_file(layout.sample_submission, data_root, "the sample submission")
        names = self.class_file(layout.class_file, data_root)
        contents = {table: self.side_file(table, data_root, "the table") for table in layout.tables}
        rows = [row for table, content in contents.items() for row in rows_of(table, content, layout)]
        labels = whole_numbers([row.label for row in rows])
        self.classes, named_labels = name_classes(filter(None, labels), names)
        self._alias: dict[str, str] = {}  # path of another row of a file -> path of the file
        self._lost: list[str] = []  # reasons of rows without a file
        matched = self._matched(rows, [named_labels.get(label) for label in labels])
        self._items = with_auxiliary(list(matched), [row.auxiliary for row in rows])
        self._warn_of_lost_rows(len(rows))
        self._warn_of_repeated_rows(len(rows))

    def _list_images(self) -> Iterator[ListedImage]:
        yield from self._items

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        wanted: dict[str, list[str]] = defaultdict(list)
        for path in dict.fromkeys(paths):
            wanted[self._alias.get(path, path)].append(path)
        for path, content in super().contents(list(wanted)):
            yield from ((name, content) for name in wanted[path])

    def _warn_of_lost_rows(self, rows: int) -> None:
        """Warn if some rows name no image. Raises UserError if none of them does."""
        if not self._lost:
            return
        message = f"{len(self._lost)} of {rows} rows of {self.table_name} name no image: {self._lost[0]}"
        example = next(iter(self.images()))
        remedy = f"An image is called {example!r}. Check data.id_column, data.images and data.path"
        if len(self._lost) == rows:
            raise UserError(f"{message}. {remedy}.")
        log.warning("%s. %s", message, remedy)

    def _warn_of_repeated_rows(self, rows: int) -> None:
        """Warn if rows name images that other rows name too, as the boxes of a detection data set do."""
        repeated = [item for item in self._items if item.path in self._alias]
        if repeated:
            log.warning(
                "%d of %d rows of %s name an image again (%s, for example), %d of them with another label, but an "
                "image has one label. If the rows are boxes, cut the boxes out and label these images",
                len(repeated), rows, self.table_name, repeated[0].path, sum(not item.problem for item in repeated),
            )  # fmt: skip

    def _matched(self, rows: Sequence[Row], labels: Sequence[str | None]) -> Iterator[ListedImage]:
        images = self.images()
        lookups = {}
        for table, split in {row.table: row.table_split for row in rows}.items():
            paths = [path for path in images if self._may_be_named(path, split)]
            names = [row.name for row in rows if row.table == table]
            lookups[table] = FileLookup(paths, self.images_folder).of_table(names)
        first: dict[str, tuple[Row, str | None]] = {}
        for row, label in zip(rows, labels, strict=True):
            path, problem = lookups[row.table].find(row.name)
            if not path:
                self._lost.append(problem)
                yield ListedImage(f"{self._below(row.name or 'row')}#{row.where}", label, row.split, problem)
            elif path not in first:
                first[path] = (row, label)
                yield ListedImage(path, label, row.split, images[path].problem)
            else:
                yield self._repeated(path, row, label, *first[path])
        for table, lookup in lookups.items():
            lookup.report(table)
        for path, entry in images.items():
            if path not in first:
                in_test_folder = len(lookups) > 1 and split_of_path(path) in ("test", "predict")
                to_predict = in_test_folder or is_below(path, self.predict_folder)
                yield ListedImage(path, None, "predict" if to_predict else None, entry.problem)

    def _repeated(self, path: str, row: Row, label: str | None, first: Row, first_label: str | None) -> ListedImage:
        """The item of another row of the same file: a conflicting label is kept, a repetition has a problem."""
        alias = f"{path}#{row.where}"
        self._alias[alias] = path
        same = label in (None, first_label)
        problem = f"the table names it twice (rows {first.number} and {row.number})" if same else ""
        return ListedImage(alias, label, row.split, problem)

    def _may_be_named(self, path: str, table_split: str | None) -> bool:
        """False for images elsewhere, and for those in the folder of another split than the table's."""
        if table_split is not None and split_of_path(path) not in (None, table_split):
            return False
        if self.images_folder:
            return is_below(path, self.images_folder)
        return not is_below(path, self.predict_folder)

    def _below(self, name: str) -> str:
        return f"{self.images_folder}/{name}" if self.images_folder else name


def rows_of(table: str, content: bytes, layout: TableLayout) -> list[Row]:
    """The rows of a table. Of several tables, one without a column of labels names images without a label.

    Raises UserError for a missing column and for an unknown split.
    """
    cells = read_table(content, table, layout.encoding)
    several = len(layout.tables) > 1
    columns = {key: getattr(layout, key) for key in ("id_column", "label_column", "split_column")}
    if several and layout.label_column not in cells[0]:
        del columns["label_column"]
    need_columns(list(cells[0]), {key: column for key, column in columns.items() if column}, table)
    for column in layout.auxiliary_columns if "label_column" in columns else ():
        need_columns(list(cells[0]), {FURTHER: column}, table)
    labels = [row.get(layout.label_column, "") for row in cells]
    table_split = split_of_table(table) if several else None
    if table_split == "unlabelled":
        labels = [""] * len(cells)  # as in a folder of this name: its labels are not read
    split = "predict" if table_split == "test" and not any(labels) else table_split
    return [
        Row(
            table,
            number,
            f"{table} row {number}" if several else f"row {number}",
            row[layout.id_column],
            label,
            row_split(row.get(layout.split_column, ""), table, number) or split,
            table_split,
            tuple(row.get(column, "") for column in layout.auxiliary_columns),
        )
        for number, (row, label) in enumerate(zip(cells, labels, strict=True), 2)
    ]


def row_split(cell: str, table: str, number: int) -> str | None:
    """The split that a cell of `data.split_column` names; None if it is empty. Raises UserError for an unknown one."""
    return split_of_cell(cell, f"{table} (data.split_column), row {number}") if cell else None


def with_auxiliary(items: Sequence[ListedImage], cells: Sequence[Sequence[str]]) -> list[ListedImage]:
    """The items with their labels in the auxiliary columns.

    items: one per row of the table, in order, then others. cells: of each row in these columns.
    """
    columns = [whole_numbers(column) for column in zip(*cells, strict=True)]
    labels = [tuple(cell or None for cell in row) for row in zip(*columns, strict=True)]
    labelled = [replace(item, auxiliary=row_labels) for item, row_labels in zip(items, labels, strict=False)]
    return [*labelled, *items[len(labelled) :]]
