"""The `data` section of a study for photos of which only the path is known: folder, archive, table or Parquet."""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from decant.data.containers import Container, open_container
from decant.data.layout import (
    is_below,
    split_of_name,
    split_of_path,
    split_of_table,
    telling_words,
    unwrapped,
    wrapping,
)
from decant.data.sources.class_names import nfc
from decant.data.sources.file_lookup import FileLookup, without_extension
from decant.data.sources.parquet import is_parquet, of_split, parquet_names, read_schema, split_of_file
from decant.data.sources.tables import LARGEST_TABLE, is_binary, read_table
from decant.errors import UserError, nearest

log = logging.getLogger(__name__)
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "species", "breed", "type", "y")
IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "jpg", "bytes")
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
ZEROS, ONES = ("0", "0.0", "false"), ("1", "1.0", "true")
OTHER_TABLES = (".xlsx", ".xls", ".ods", ".json", ".jsonl")
ARROW = (".arrow", ".feather")
FOLDERS_ARE_CLASSES = "If the folders are the classes, say --set data.source=folder"
Rows = Sequence[Mapping[str, str]]
TRIED_ROWS = 500
LEAST_MATCHED = 0.5  # share of a table's rows whose cell in the id column names a file


def detected_data(photos: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `data` for the photos at `photos`, an absolute path; keys in `given` are kept as they are.

    Raises UserError if the path does not exist, or if it is not clear what a column of a table contains.
    """
    if not photos.exists():
        siblings = sorted(path.name for path in photos.parent.glob("*")) if photos.parent.is_dir() else []
        raise UserError(f"{photos} does not exist; {nearest(photos.name, siblings[:200]) if siblings else 'check it'}")
    if "source" in given:
        return {"path": str(photos), **given}
    if is_parquet(photos.name):
        return parquet_data(photos.parent, [photos.name], {"train": photos.name, **given})
    if photos.name.lower().endswith((*TABLES, ".txt")):
        return table_data(photos.parent, {"table": photos.name, **given})
    if photos.is_file():
        refuse_other_tables([photos.name], photos)
    shards = parquet_names(photos) if photos.is_dir() else []
    if shards:
        return parquet_data(photos, shards, given)
    container = opened(photos, given)
    if not has_class_folders(container) and not tables_of(container):
        refuse_other_tables(list(container.entries), photos)
    if "table" in given or (tables_of(container) and not has_class_folders(container)):
        return table_data(photos, given)
    warn_of_unread_table(photos, container, given)
    return {"source": "folder", "path": str(photos), **given}


def parquet_data(folder: Path, shards: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `data` for a folder of Parquet files.

    A single file is trained on, whatever its name. A file without a column of bytes is read as a table of file names.
    Raises UserError if it is not clear which file or column to read.
    """
    keys: dict[str, Any] = {"source": "parquet", "path": str(folder), **given}
    if "train" not in keys and not any(split_of_file(name) == "train" for name in shards):
        if len(shards) > 1:
            raise UserError(
                f"{folder}: name the file to train on with --set data.train=FILE; it has {', '.join(shards)}"
            )
        keys["train"] = shards[0]
    first = keys.get("train") or next(name for name in shards if split_of_file(name) == "train")
    schema = read_schema(next(iter(sorted(folder.glob(str(first)))), folder / str(first)))
    images = [field.name for field in schema if pa.types.is_struct(field.type) or is_binary(field.type)]
    if not images and "image_column" not in keys:
        if not {"table", "train"} & set(given) and has_class_folders(opened(folder, given)):
            return {"source": "folder", "path": str(folder), **given}
        refuse_no_images(folder, str(first), schema, given)
        split_files = [name for split in ("train", "val", "test") for name in of_split(shards, split)]
        table = split_files if len(split_files) > 1 and "train" not in given else str(first)
        return table_data(folder, {"table": table, **{key: given[key] for key in given if key != "train"}})
    if "image_column" not in keys:
        keys["image_column"] = named_column(images, IMAGE_NAMES, folder, "image_column")
    texts = [name for name in schema.names if name not in images]
    others = texts or [name for name in images if name != keys["image_column"]]
    if "label_column" not in keys:
        keys["label_column"] = named_column(others, LABEL_NAMES, folder, "label_column")
    return keys


def refuse_no_images(folder: Path, shard: str, schema: pa.Schema, given: Mapping[str, Any]) -> None:
    """Raise UserError if a Parquet file without a column of bytes has no image files beside it either."""
    if not any(entry.is_image for entry in opened(folder, given).entries.values()):
        columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise UserError(
            f"{folder / shard} has no column of bytes ({columns}), and no image file lies in {folder}. Write the bytes "
            "of the image files into a column, or put the files that the table names into the folder"
        )


def table_data(photos: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The table whose rows name files, or one per split, with its columns of file names and of labels."""
    container = opened(photos, given)
    images, short = images_of(container)
    names = given.get("table", tables_of(container))
    candidates = [names] if isinstance(names, str) else list(names)
    tables = readable_tables(container, candidates, {base_name(path) for path in images}, given)
    chosen = dict(tables) if isinstance(given.get("table"), list) else tables_of_splits(tables, short, given)
    share, table, column = best_table(list(chosen.items())[:1] or tables, short, given)
    if share < LEAST_MATCHED:
        raise UserError(no_column_names_images(photos, images, tables))
    rows = dict(tables)[table]
    table_paths = list(chosen or [table])
    log_unread_tables(table_paths, [path for path, _ in tables if path not in table_paths and not is_submission(path)])
    names = [unwrapped(path, wrapping(images)) for path in table_paths]
    name = names if len(names) > 1 else names[0]
    keys = {"source": "csv", "path": str(photos), "table": name, "id_column": column, **given}
    if "label_column" not in keys:
        keys["label_column"] = label_column(rows, column, photos / table)
    if len(names) == 1 and not {"split_column", "split_file"} & set(given):
        split = split_column(rows, {column, keys["label_column"]})
        keys |= {"split_column": split} if split else {}
    sample = [path for path in candidates if is_submission(path)]
    if sample and "sample_submission" not in keys and sample[0] not in table_paths:
        keys["sample_submission"] = unwrapped(sample[0], wrapping(images))
    return keys if len(names) > 1 else {**keys, **image_folders(short, rows, column, given)}


def log_unread_tables(read: Sequence[str], others: Sequence[str]) -> None:
    if others:
        log.info(
            "labels are read from %s; other tables are not read: %s. To read others: --set data.table=FILE, or a list "
            "with one table per split: [train.csv, val.csv]",
            ", ".join(read), ", ".join(others[:5]) + (" …" if others[5:] else ""),
        )  # fmt: skip


def images_of(container: Container) -> tuple[list[str], list[str]]:
    """The paths of the images, and the same without the folders that wrap them."""
    images = [path for path, entry in container.entries.items() if entry.is_image]
    prefix = wrapping(images)
    return images, [unwrapped(path, prefix) for path in images]


def no_column_names_images(photos: Path, images: Sequence[str], tables: Sequence[tuple[str, Rows]]) -> str:
    if not images:
        return f"no image file lies in {photos}. Put the table into the folder of its images and give that folder"
    (table, rows), *_ = tables
    return (
        f"{photos}: no column of {', '.join(name for name, _ in tables)} names the images ({len(images)} files, "
        f"{images[0]!r} for example; the first row of {table} is {', '.join(map(repr, rows[0].values()))}). Say which "
        "with --set data.table=FILE --set data.id_column=COLUMN --set data.label_column=COLUMN. " + FOLDERS_ARE_CLASSES
    )


def tables_of_splits(
    tables: Sequence[tuple[str, Rows]], images: Sequence[str], given: Mapping[str, Any]
) -> dict[str, Rows]:
    """The tables that each name images of one split, by path and train first; empty unless train and another exist."""
    table_of: dict[str, tuple[str, Rows]] = {}
    for path, rows in tables:
        split = split_of_table(path)
        if split in ("train", "val", "test") and not is_submission(path):
            table_of.setdefault(split, (path, rows))
    if "train" not in table_of:
        return {}
    share, train, column = best_table([table_of.pop("train")], images, given)
    others = {
        path: rows
        for path, rows in table_of.values()
        if matched_share(lookup_of(path, images), [row.get(column, "") for row in rows]) >= LEAST_MATCHED
    }
    return {train: dict(tables)[train], **others} if others and share >= LEAST_MATCHED else {}


def is_submission(path: str) -> bool:
    return "submission" in path.lower()


def lookup_of(table: str, images: Sequence[str]) -> FileLookup:
    """The images that a table of one split may name: not those in folders of other splits."""
    return FileLookup([path for path in images if split_of_path(path) in (None, split_of_table(table))], "")


def best_table(
    tables: Sequence[tuple[str, Rows]], images: Sequence[str], given: Mapping[str, Any]
) -> tuple[float, str, str]:
    """(share of matched rows, table, column of file names) of the table that fits best."""
    files, all_images = {base_name(path) for path in images}, FileLookup(images, "")
    best: tuple[tuple[float, float, bool, int], str, str] = ((0.0, 0.0, False, 0), "", "")
    for path, rows in tables:
        for column in [given["id_column"]] if "id_column" in given else list(rows[0]):
            names = [row.get(column, "") for row in rows]
            share = max(matched_share(lookup, names) for lookup in (all_images, lookup_of(path, images)))
            rank = (share, whole_names(names, files), len(rows[0]) > 1, len(rows))
            if rank > best[0]:
                best = (rank, path, column)
    (share, *_), table, column = best
    return share, table, column


def warn_of_unread_table(photos: Path, container: Container, given: Mapping[str, Any]) -> None:
    """Warn if a table names images of class folders and has other labels than the names of these folders."""
    images, short = images_of(container)
    names = [path for path in tables_of(container) if not is_submission(path)]
    with suppress(UserError):  # no table can be read
        tables = readable_tables(container, names, set(), given) if names else []
        share, table, column = best_table(tables, short, given)
        if share >= LEAST_MATCHED and has_other_labels(dict(tables)[table], column, short):
            log.warning(
                "%s: the folders are taken for the classes. If the labels are in %s, say --set data.table=%s",
                photos, table, unwrapped(table, wrapping(images)),
            )  # fmt: skip


def has_other_labels(rows: Rows, id_column: str, images: Sequence[str]) -> bool:
    """True if there are columns of labels, and none that contains the folders of the images."""
    lookup = FileLookup(images, "").of_table([row[id_column] for row in rows])
    folders = [nfc(lookup.find(row[id_column])[0]).split("/")[:-1] for row in rows]
    labels = [
        [nfc(row[column]) for row in rows]
        for column in rows[0]
        if column != id_column and repeats([row[column] for row in rows])
    ]
    agrees = any(
        all(label in parts for label, parts in zip(column, folders, strict=True) if parts) for column in labels
    )
    return bool(labels) and not agrees


def readable_tables(
    container: Container, candidates: Sequence[str], files: set[str], given: Mapping[str, Any]
) -> list[tuple[str, Rows]]:
    """(path, rows) of each candidate that can be read. Raises the first UserError if there is none."""
    tables: list[tuple[str, Rows]] = []
    errors = []
    for name in candidates:
        path = next((path for path in container.entries if path == name or path.endswith("/" + name)), name)
        try:
            rows = read_table(container.read_one(path), path, given.get("table_encoding", ""))
            refuse_missing_header(rows, files, path)
            tables.append((path, rows))
        except UserError as error:
            errors.append(error)
    if errors and not tables:
        raise errors[0]
    return tables


def refuse_missing_header(rows: Rows, files: set[str], where: str) -> None:
    """Raise UserError if the first line is a row of data: it names an image, with its extension or beside a label."""
    stems = {without_extension(name) for name in files}
    labelled = any(column in {row[column] for row in rows[:TRIED_ROWS]} for column in rows[0])
    image = next((c for c in rows[0] if base_name(c) in files or (labelled and base_name(c) in stems)), "")
    if image:
        raise UserError(
            f"{where} has no header: its first line names the image {image!r}. Write a line with the names of the "
            "columns above it, for example image,label"
        )


def whole_names(names: Sequence[str], files: set[str]) -> float:
    """The share of the first names that have their extension. Without it, a column of row numbers matches 0.png too."""
    tried = names[:TRIED_ROWS]
    return sum(base_name(name) in files for name in tried) / max(1, len(tried))


def base_name(path: str) -> str:
    return nfc(path.replace("\\", "/").rpartition("/")[2]).lower()


def image_folders(images: Sequence[str], rows: Rows, column: str, given: Mapping[str, Any]) -> dict[str, str]:
    """`images` and `predict`, if one of two top folders is called test and the table names the files of the other."""
    tops = {path.partition("/")[0] for path in images if "/" in path}
    test = [top for top in tops if split_of_name(top) in ("test", "predict")]
    if len(tops) != 2 or len(test) != 1 or "images" in given or "predict" in given:
        return {}
    (other,) = tops - set(test)
    lookup = FileLookup([path for path in images if is_below(path, other)], other)
    if matched_share(lookup, [row[column] for row in rows]) < LEAST_MATCHED:
        return {}
    return {"images": other, "predict": test[0]}


def refuse_other_tables(names: Sequence[str], photos: Path) -> None:
    """Raise UserError if a file is a table of a kind that is not read."""
    arrow = next((name for name in names if name.lower().endswith(ARROW)), "")
    if arrow:
        raise UserError(
            f"{photos}: {arrow} is not read. Save the data as Parquet; of a folder by save_to_disk, with Python: "
            "datasets.load_from_disk(FOLDER)['train'].to_parquet('train.parquet'), and likewise the other splits"
        )
    table = next((name for name in names if name.lower().endswith(OTHER_TABLES)), "")
    if table:
        raise UserError(
            f"{photos}: {table} is not read. If it has the labels, save it as CSV (UTF-8) with one row per image, in a "
            f"column the name of its file and in another its label. {FOLDERS_ARE_CLASSES}"
        )
    shard = next((name for name in names if is_parquet(name)), "")
    if shard:
        raise UserError(f"{photos}: {shard} lies in an archive; unpack it and give the folder")


def opened(photos: Path, given: Mapping[str, Any]) -> Container:
    return open_container(photos, encoding=given.get("zip_encoding", ""))


def matched_share(lookup: FileLookup, names: Sequence[str]) -> float:
    """The share of the first names that are names of files, also as paths of another machine."""
    lookup, tried = lookup.of_table(names), names[:TRIED_ROWS]
    return sum(bool(lookup.find(name)[0]) for name in tried) / max(1, len(tried))


def label_column(rows: Rows, id_column: str, where: Path) -> str:
    """The column of the labels: by its name, else the only one whose values repeat."""
    others = [column for column in rows[0] if column != id_column]
    if set(LABEL_NAMES) & {name.lower() for name in others}:
        return named_column(others, LABEL_NAMES, where, "label_column")
    refuse_column_per_class(rows, others, where)
    repeating = [column for column in others if repeats([row[column] for row in rows])]
    if not repeating:
        raise UserError(
            f"{where}: {id_column!r} names the images, but no column can be the label. The columns are "
            f"{', '.join(map(repr, rows[0]))} (a comma, semicolon, tab or | separates them). Say which with "
            "--set data.label_column=COLUMN"
        )
    return named_column(repeating, LABEL_NAMES, where, "label_column")


def repeats(values: Sequence[str]) -> bool:
    """True if values may be labels: several, and each of them about twice or more often."""
    return 2 <= len(set(values)) <= max(2, len(values) // 2)


def split_column(rows: Rows, taken: Collection[str]) -> str:
    """The first other column whose cells all name splits, train among them; "" if there is none."""
    for column in rows[0]:
        splits = {split_of_name(row[column]) for row in rows}
        if (
            column not in taken
            and "train" in splits
            and len(splits) > 1
            and splits <= {"train", "val", "test", "predict"}
        ):
            return column
    return ""


def refuse_column_per_class(rows: Rows, columns: Sequence[str], where: Path) -> None:
    """Raise UserError if several columns of zeros and ones have one 1 in each row."""
    marks = [column for column in columns if {row[column].lower() for row in rows} <= {*ZEROS, *ONES}]
    if len(marks) > 1 and all(sum(row[column].lower() in ONES for column in marks) == 1 for row in rows):
        raise UserError(
            f"{where} has a column per class ({', '.join(marks[:5])}), but one column with the name of the class is "
            "needed. With pandas: table['label'] = table[[the columns]].idxmax(axis=1)"
        )


def named_column(columns: Sequence[str], names: Sequence[str], where: Path, key: str) -> str:
    """The first column with one of the names, or the only column. Raises UserError if neither exists."""
    lower = {column.lower(): column for column in reversed(columns)}
    for name in names:
        if name in lower:
            return lower[name]
    if len(columns) == 1:
        return columns[0]
    listed = ", ".join(columns) or "no column that fits"
    raise UserError(f"{where}: say which column is meant with --set data.{key}=COLUMN ({listed})")


def tables_of(container: Container) -> list[str]:
    return [
        path
        for path, entry in container.entries.items()
        if path.lower().endswith(TABLES) and entry.size <= LARGEST_TABLE and not entry.problem
    ]


def has_class_folders(container: Container) -> bool:
    """True if the images lie in two or more folders whose names mean neither a split nor images in general."""
    images = [path for path, entry in container.entries.items() if entry.is_image]
    inner = [unwrapped(path, wrapping(images)).split("/") for path in images]
    folders = {parts[-2] for parts in inner if len(parts) > 1}
    return sum(bool(telling_words(name)) and split_of_name(name) is None for name in folders) > 1
