"""The `data` section of a study for photos of which only the path is known: folder, archive, table or Parquet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from decant.data.containers import Container, open_container
from decant.data.layout import is_below, split_of_name, telling_words, unwrapped, wrapping
from decant.data.sources.file_lookup import FileLookup
from decant.data.sources.parquet import read_schema, split_of_file
from decant.data.sources.tables import read_table
from decant.errors import UserError, nearest

LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "species", "breed", "type", "y")
IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "jpg", "bytes")
TABLES = (".csv", ".tsv")
LARGEST_TABLE = 1 << 28  # bytes
TRIED_ROWS = 500
LEAST_MATCHED = 0.5  # share of a table's rows whose cell in the id column names a file


def detected_data(photos: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `data` for the photos at `photos`, an absolute path; what `given` sets is kept and not looked for.

    Raises UserError if nothing is there, or if the columns of a table cannot be told apart.
    """
    if not photos.exists():
        siblings = sorted(path.name for path in photos.parent.glob("*")) if photos.parent.is_dir() else []
        raise UserError(f"{photos} does not exist; {nearest(photos.name, siblings[:200]) if siblings else 'check it'}")
    if "source" in given:
        return {"path": str(photos), **given}
    if photos.suffix == ".parquet":
        return parquet_data(photos.parent, [photos.name], {"train": photos.name, **given})
    if photos.suffix.lower() in TABLES:
        return table_data(photos.parent, {"table": photos.name, **given})
    shards = (
        sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.parquet")) if photos.is_dir() else []
    )
    if shards:
        return parquet_data(photos, shards, given)
    container = opened(photos, given)
    if "table" in given or (tables_of(container) and not has_class_folders(container)):
        return table_data(photos, given)
    return {"source": "folder", "path": str(photos), **given}


def parquet_data(folder: Path, shards: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """A single shard with another name than train is the one to train on."""
    keys: dict[str, Any] = {"source": "parquet", "path": str(folder), **given}
    if "train" not in keys and not any(split_of_file(name) == "train" for name in shards):
        if len(shards) > 1:
            raise UserError(
                f"{folder}: name the file to train on with --set data.train=FILE; it has {', '.join(shards)}"
            )
        keys["train"] = shards[0]
    first = keys.get("train") or next(name for name in shards if split_of_file(name) == "train")
    schema = read_schema(next(iter(sorted(folder.glob(str(first)))), folder / str(first)))
    images = [field.name for field in schema if pa.types.is_struct(field.type) or pa.types.is_binary(field.type)]
    others = [name for name in schema.names if name not in images]
    if "image_column" not in keys:
        keys["image_column"] = named(images, IMAGE_NAMES, folder, "image_column")
    if "label_column" not in keys:
        keys["label_column"] = named(others, LABEL_NAMES, folder, "label_column")
    return keys


def table_data(photos: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The table whose rows name files, its column of file names and its column of labels."""
    container = opened(photos, given)
    images = [path for path, entry in container.entries.items() if entry.is_image]
    lookup = FileLookup([unwrapped(path, wrapping(images)) for path in images], "")
    candidates = [given["table"]] if "table" in given else tables_of(container)
    best: tuple[float, str, str, list[dict[str, str]]] = (0.0, "", "", [])
    for name in candidates:
        path = next((path for path in container.entries if path == name or path.endswith("/" + name)), name)
        rows = read_table(container.read_one(path), path, given.get("table_encoding", ""))
        for column in [given["id_column"]] if "id_column" in given else list(rows[0]) if rows else []:
            share = matched_share(lookup, [row.get(column, "") for row in rows])
            if (share, len(rows[0]) > 1, len(rows)) > (best[0], len(best[3][:1] and best[3][0]) > 1, len(best[3])):
                best = (share, unwrapped(path, wrapping(images)), column, rows)
    share, table, column, rows = best
    if share < LEAST_MATCHED:
        raise UserError(
            f"{photos}: no column of {', '.join(candidates)} names the images ({len(images)} files). Say which with "
            "--set data.table=FILE --set data.id_column=COLUMN --set data.label_column=COLUMN"
        )
    keys = {"source": "csv", "path": str(photos), "table": table, "id_column": column, **given}
    if "label_column" not in keys:
        keys["label_column"] = label_column(rows, column, photos / table)
    sample = [name for name in candidates if "submission" in name.lower()]
    if sample and "sample_submission" not in keys and sample[0] != table:
        keys["sample_submission"] = unwrapped(sample[0], wrapping(images))
    return {**keys, **image_folders([unwrapped(path, wrapping(images)) for path in images], rows, column, given)}


def image_folders(
    images: Sequence[str], rows: Sequence[Mapping[str, str]], column: str, given: Mapping[str, Any]
) -> dict[str, str]:
    """`images` and `predict`, if the table names files of one top folder alone and another is called test."""
    tops = {path.partition("/")[0] for path in images if "/" in path}
    test = [top for top in tops if split_of_name(top) in ("test", "predict")]
    if len(tops) != 2 or len(test) != 1 or "images" in given or "predict" in given:
        return {}
    (other,) = tops - set(test)
    below = FileLookup([path for path in images if is_below(path, other)], other)
    if matched_share(below, [row[column] for row in rows]) < LEAST_MATCHED:
        return {}
    return {"images": other, "predict": test[0]}


def opened(photos: Path, given: Mapping[str, Any]) -> Container:
    return open_container(photos, encoding=given.get("zip_encoding", ""))


def matched_share(lookup: FileLookup, names: Sequence[str]) -> float:
    """The share of the first names that are names of files, also as paths of another machine."""
    lookup, tried = lookup.of_table(names), names[:TRIED_ROWS]
    return sum(bool(lookup.find(name)[0]) for name in tried) / max(1, len(tried))


def label_column(rows: Sequence[Mapping[str, str]], id_column: str, where: Path) -> str:
    """The column of the labels: by its name, else the only one whose values repeat."""
    others = [column for column in rows[0] if column != id_column and column]
    repeating = [column for column in others if 2 <= len({row[column] for row in rows}) <= max(2, len(rows) // 2)]
    return named(others if set(LABEL_NAMES) & {name.lower() for name in others} else repeating, LABEL_NAMES, where,
                 "label_column")  # fmt: skip


def named(columns: Sequence[str], names: Sequence[str], where: Path, key: str) -> str:
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
