"""Soft labels as one Parquet table for other programs: a row per image and view, with how the view is drawn.

docs/soft_labels.md describes the columns. Views are written one after the other, so memory does not grow with them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from decant.data.views import ViewParameters
from decant.errors import UserError
from decant.workspace import replacing

METADATA = b"decant"  # key in the schema's metadata, of a JSON object
NUMBERS = {"affine": 6, "colour": 12, "erased": 4, "fill": 3, "patch": 4}  # column -> float32 numbers per row
SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class LabelledView:
    """A view of n images. probabilities: float32 [n, K]. parameters: None if a table has only probabilities."""

    view: int
    contents: list[str]
    probabilities: np.ndarray
    parameters: ViewParameters | None


def write_table(
    path: Path,
    views: Iterable[LabelledView],
    contents: Sequence[str],
    paths: Sequence[str],
    classes: Sequence[str],
    about: dict[str, Any],
) -> None:
    """Write the views as a table. about: JSON values for the metadata.

    contents: hashes of all images, in the order in which partners index them; paths: of the same images.
    """
    metadata = {METADATA: json.dumps({"classes": list(classes), **about}).encode()}
    schema = pa.schema(
        [
            ("content", pa.string()),
            ("path", pa.string()),
            ("view", pa.int32()),
            *((name, pa.list_(pa.float32(), count)) for name, count in NUMBERS.items()),
            ("partner", pa.string()),
            ("share", pa.float32()),
            ("probabilities", pa.list_(pa.float32(), len(classes))),
        ],
        metadata=metadata,
    )
    path_of = dict(zip(contents, paths, strict=True))
    with replacing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for labelled in views:
            writer.write_table(pa.table(columns(labelled, contents, path_of), schema=schema))


def columns(labelled: LabelledView, contents: Sequence[str], path_of: dict[str, str]) -> dict[str, Any]:
    """The columns of one view's rows."""
    drawn = labelled.parameters
    assert drawn is not None, "decant's own views have parameters"
    numbers = {
        "affine": drawn.affine,
        "colour": drawn.colour,
        "erased": drawn.box,
        "fill": drawn.fill,
        "patch": drawn.patch,
    }
    return {
        "content": labelled.contents,
        "path": [path_of[content] for content in labelled.contents],
        "view": np.full(len(labelled.contents), labelled.view, dtype=np.int32),
        **{name: fixed_lists(values) for name, values in numbers.items()},
        "partner": [contents[row] if row >= 0 else None for row in drawn.partner],
        "share": drawn.share,
        "probabilities": fixed_lists(labelled.probabilities),
    }


def fixed_lists(values: np.ndarray) -> pa.Array:
    """One list of float32 per row of values [n, ...]."""
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def read_classes(path: Path) -> list[str]:
    """The classes in the order of the probabilities. Raises UserError if the file is no table of soft labels."""
    try:
        schema = pq.read_schema(path)
        classes = json.loads((schema.metadata or {})[METADATA])["classes"]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a table of soft labels: {error}. docs/soft_labels.md describes one") from None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{path} is not a table of soft labels: its classes are not a list of names")
    for name, has_type in {
        "content": pa.types.is_string,
        "view": pa.types.is_integer,
        "probabilities": is_list,
    }.items():
        if name not in schema.names:
            raise UserError(f"{path} has no column {name}. docs/soft_labels.md describes the table")
        if not has_type(schema.field(name).type):
            raise UserError(f"{path}: the column {name} is {schema.field(name).type}. docs/soft_labels.md has its type")
    return classes


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def read_table(path: Path) -> Iterator[LabelledView]:
    """Yield the rows of each view, for programs that use the table; a view that spans row groups is yielded in parts.

    Other programs may have written the table, without view parameters. Raises UserError for a file that is no such
    table, and for rows that are not probabilities.
    """
    classes = len(read_classes(path))
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["content", "view", "probabilities"])
                if table["view"].null_count or table["content"].null_count:
                    raise UserError(f"{path}: a row has no view or no content. docs/soft_labels.md describes the table")
                numbers = table["view"].to_numpy()
                for view in dict.fromkeys(numbers.tolist()):
                    yield labelled_view(path, table.filter(pa.array(numbers == view)), int(view), classes)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def labelled_view(path: Path, rows: pa.Table, view: int, classes: int) -> LabelledView:
    """The view with these rows. Raises UserError if a row is no distribution over the classes."""
    probabilities = number_rows(rows, "probabilities", classes)
    if probabilities is None or not is_distribution(probabilities):
        raise UserError(
            f"{path}: in view {view} a row of probabilities is not {classes} numbers from 0 to 1 that sum to 1"
        )
    return LabelledView(view, rows["content"].to_pylist(), probabilities, None)


def number_rows(rows: pa.Table, name: str, count: int) -> np.ndarray | None:
    """A column of lists as float32 [n, count]; None if a list has another length, or a value is missing."""
    lists = rows[name].to_pylist()
    if any(values is None or len(values) != count or None in values for values in lists):
        return None
    return np.asarray(lists, dtype=np.float32).reshape(len(lists), count)


def is_distribution(rows: np.ndarray) -> bool:
    """True if every row of [n, K] is at least 0 and sums to 1."""
    return bool((rows >= 0).all() and (np.abs(rows.sum(axis=1) - 1) < SUM_TOLERANCE).all())
