"""The manifest: one row per image that a source offers, with its label, split, group and what cleaning decided."""

import errno
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from decant.data.class_checks import counted_reasons, warn_of_classes, without_repeats
from decant.data.decoder_warnings import recorded_warnings, taken_warnings
from decant.data.images import BrokenImage, probe
from decant.data.pool import parallel
from decant.data.sources.base import Found, Source
from decant.data.sources.class_names import renamed, shown_name
from decant.data.splits import assign_splits, limited
from decant.errors import UserError
from decant.study import Data
from decant.workspace import replacing

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("content", pa.string()),
        ("path", pa.string()),
        ("given_label", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),
        ("weight", pa.float64()),
        ("action", pa.string()),
        ("reason", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
    ]
)
COLUMNS = SCHEMA.names
MAY_BE_NONE = {"given_label", "label", "split"}
WARNING = "warning: "  # begins the reason of an image that is used although its decoder warned of it
BATCH_IMAGES, BATCH_BYTES = 64, 32 << 20  # per task of the pool
Progress = Callable[..., Iterator["tuple[str, Look]"]]


class Look(NamedTuple):
    """Facts from decoding a file. content: SHA-256 (hex) of its bytes, or "". width, height: pixels, or 0.

    warning: what the decoder warned of first; the image can be used.
    """

    content: str
    width: int
    height: int
    problem: str
    warning: str = ""


@dataclass(frozen=True)
class Manifest:
    """rows: a table with COLUMNS, one row per image, `id` unique. classes: the class names by their index.

    Text columns contain str, or None where a label or a split is missing; `weight` is float64, `width` and `height`
    are int64 (0 for a broken file).
    """

    rows: pd.DataFrame
    classes: list[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tidy(self.rows))

    def kept(self) -> pd.DataFrame:
        """The rows that were not set aside."""
        return self.rows[self.rows["action"] != "drop"]

    def of_split(self, *splits: str) -> pd.DataFrame:
        """Kept rows of these splits ordered by id, with a new index."""
        kept = self.kept()
        return kept[kept["split"].isin(splits)].sort_values("id", ignore_index=True)

    def targets(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Class index of each row's `label`, int64 [n]; -1 for None. Raises ValueError for an unknown label."""
        index = {name: number for number, name in enumerate(self.classes)}
        unknown = set(rows["label"].dropna()) - set(index)
        if unknown:
            raise ValueError(f"labels that are not classes of the manifest: {sorted(unknown)}")
        return np.array([index.get(label, -1) for label in rows["label"]], dtype=np.int64)


def row_id(key: str) -> str:
    """The id of a row: the first 16 hex digits of the SHA-256 of its source-relative path or row key."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def build_manifest(
    source: Source, data: Data, seed: int, progress: Progress | None = None, workers: int = 2
) -> Manifest:
    """The manifest of a source: every image is decoded once, in `workers` threads, and has one row.

    A file that cannot be decoded is set aside with a reason that begins with "broken: "; of a file that is used
    although its decoder warned of it, as of damaged metadata, the reason begins with "warning: ". Classes have the
    names that `data.class_names` gives them. The split is None if the source does not define it: `draw_splits` fills
    it after duplicates are grouped. seed: selects the images that `data.limit` keeps. progress: as
    `decant.tracking.progress`. Raises UserError if fewer than two classes have a usable image to train on.
    """
    names = renamed(source.classes, data.class_names)
    items = [with_class_name(item, data.class_names) for item in source.found()]
    if data.limit is not None:
        items = limited(items, data.limit, data.val_fraction, data.test_fraction, seed)
    readable = [item.path for item in items if not item.problem]
    looks: Iterator[tuple[str, Look]] = look_at_all(source.contents(readable), workers)
    if progress is not None:
        looks = progress(looks, "reading images", total=len(readable), unit="images")
    with recorded_warnings():
        look_of = dict(looks)
    unread = Look("", 0, 0, "it could not be read")
    rows = [
        row_of(item, Look("", 0, 0, item.problem) if item.problem else look_of.get(item.path, unread)) for item in items
    ]
    table = without_repeats(pd.DataFrame(rows, columns=COLUMNS), [item.in_repeat for item in items])
    classes = trainable_classes(table, names)
    untrainable = table["label"].notna() & ~table["label"].isin(classes) & (table["action"] != "drop")
    table.loc[untrainable, "reason"] = "no image of its class to train on: " + table.loc[untrainable, "label"]
    table.loc[untrainable, "action"] = "drop"
    if len(classes) < 2:
        raise UserError(too_few_classes(table, classes))
    warn_of_classes(table, classes)
    count_warnings(table)
    return Manifest(table, classes)


def draw_splits(manifest: Manifest, seed: int, val_fraction: float, test_fraction: float) -> Manifest:
    """The manifest with a split in every row: missing splits are drawn (`assign_splits`).

    Call it once, after duplicates are grouped: drawn splits cannot be distinguished from given splits later.
    """
    split = assign_splits(manifest.rows, seed, val_fraction, test_fraction)
    return Manifest(manifest.rows.assign(split=split), manifest.classes)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write Parquet atomically, with the classes in the schema's metadata. Raises UserError on a full disk."""
    schema = SCHEMA.with_metadata({b"classes": json.dumps(manifest.classes, ensure_ascii=False).encode()})
    table = pa.Table.from_pandas(manifest.rows, schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(schema.metadata)
    try:
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk is full: {path} was not written. Make room on it and run again.") from error
        raise


def read_manifest(path: Path) -> Manifest:
    """Read the manifest at `path`. Raises UserError if it is missing or damaged."""
    try:
        table = pq.read_table(path)
        classes = json.loads(table.schema.metadata[b"classes"])
        return Manifest(table.to_pandas(), classes)
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a readable manifest ({error}). Delete it and run again to rebuild it."
        ) from error


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The COLUMNS of `rows` with the types of Manifest. Raises ValueError for a missing column or a repeated id."""
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise ValueError(f"the manifest lacks the columns {missing}")
    if rows["id"].duplicated().any():
        raise ValueError(f"ids occur twice in the manifest: {rows['id'][rows['id'].duplicated()].tolist()[:3]}")
    return pd.DataFrame({field.name: typed(rows[field.name], field) for field in SCHEMA}, columns=COLUMNS)


def typed(values: pd.Series, field: pa.Field) -> pd.Series:
    """One column: str objects with None for missing values (pandas' text type has NaN), or numbers."""
    if field.type != pa.string():
        return values.astype("float64" if field.type == pa.float64() else "int64")
    missing = values.isna()
    if missing.any() and field.name not in MAY_BE_NONE:
        raise ValueError(f"a row of the manifest has no value in the column {field.name}")
    return values.astype(object).where(~missing, None)


def with_class_name(item: Found, shown: Mapping[str, str]) -> Found:
    return item if item.given_label is None else replace(item, given_label=shown_name(item.given_label, shown))


def row_of(item: Found, look: Look) -> tuple[object, ...]:
    """The row of an image, in the order of COLUMNS."""
    identity = row_id(item.path)
    has_split = item.given_label is not None or item.split == "predict" or (item.aside and item.split is not None)
    split = item.split if has_split else "unlabelled"
    aside = f"broken: {look.problem}" if look.problem else item.aside
    reason = aside or (WARNING + look.warning if look.warning else "")
    action = "drop" if aside else "none"
    group = look.content or identity
    label = item.given_label
    size = (look.width, look.height)
    return (identity, look.content, item.path, label, label, split, group, 1.0, action, reason, *size)


def look_at_all(contents: Iterable[tuple[str, bytes | BrokenImage]], workers: int) -> Iterator[tuple[str, Look]]:
    """Yield (path, Look) of each file. The calling thread reads, `workers` threads decode; few files are in memory."""
    for looks in parallel(look_at_batch, batches(contents), workers, ahead=2 * workers + 1):
        yield from looks


def look_at_batch(batch: list[tuple[str, bytes | BrokenImage]]) -> list[tuple[str, Look]]:
    return [(path, look_at(content)) for path, content in batch]


def batches(
    contents: Iterable[tuple[str, bytes | BrokenImage]],
) -> Iterator[list[tuple[str, bytes | BrokenImage]]]:
    batch: list[tuple[str, bytes | BrokenImage]] = []
    size = 0
    for path, content in contents:
        batch.append((path, content))
        size += len(content) if isinstance(content, bytes) else 0
        if len(batch) >= BATCH_IMAGES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def look_at(content: bytes | BrokenImage) -> Look:
    """Digest and size of an image and what its decoder warned of, or the reason why it cannot be decoded."""
    if isinstance(content, BrokenImage):
        return Look("", 0, 0, str(content))
    digest = hashlib.sha256(content).hexdigest()
    taken_warnings()  # those of an earlier image that could not be decoded
    try:
        return Look(digest, *probe(content), "", next(iter(taken_warnings()), ""))
    except BrokenImage as error:
        return Look(digest, 0, 0, str(error))


def count_warnings(rows: pd.DataFrame) -> None:
    """Warn once, with a count and an example, of images that are used although their decoder warned of them."""
    warned = rows[(rows["action"] != "drop") & rows["reason"].str.startswith(WARNING)]
    if len(warned):
        log.warning(
            "%d of %d images were decoded with a warning, mostly of damaged metadata (EXIF), and are used. Check that "
            "they are upright: %s (%s), for example; issues.csv of the stage clean lists them",
            len(warned), len(rows), warned["path"].iloc[0], warned["reason"].iloc[0].removeprefix(WARNING),
        )  # fmt: skip


def trainable_classes(rows: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """The classes, in the source's order, that have a usable image in train or without a split."""
    usable = rows[(rows["action"] != "drop") & (rows["split"].isna() | (rows["split"] == "train"))]
    present = set(usable["label"].dropna())
    absent = [name for name in classes if name not in present]
    if absent:
        log.warning("classes without a usable image to train on are left out: %s", ", ".join(map(repr, absent[:12])))
    return [name for name in classes if name in present]


def too_few_classes(rows: pd.DataFrame, classes: Sequence[str]) -> str:
    """The message for too few classes: how many images were found, and why others were set aside."""
    aside = rows["reason"][rows["action"] == "drop"]
    reasons = counted_reasons(aside)
    labels = rows["label"].notna().sum()
    return (
        f"There are too few classes: {len(classes) or 'no'} class has usable images to train on "
        f"({', '.join(classes) or 'none'}), at least two are needed. {len(rows)} images were found, "
        f"{labels} of them with a label, {len(aside)} were set aside{': ' + reasons if reasons else ''}. A folder "
        "needs one sub-folder per class; check data.path, and for tables data.label_column."
    )
