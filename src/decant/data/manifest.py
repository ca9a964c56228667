"""The manifest: one row per image that a source offers, with its label, split, group and what cleaning decided."""

import errno
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from decant.data.class_checks import counted_reasons, warn_of_classes, without_repeats
from decant.data.decoder_warnings import recorded_warnings, taken_warnings
from decant.data.extra_items import extra_items, log_extra
from decant.data.images import BrokenImage, probe
from decant.data.pool import parallel
from decant.data.sources.base import ListedImage, Source
from decant.data.sources.class_names import composed_keys, renamed
from decant.data.splits import assign_splits, limited, without_label
from decant.errors import UserError
from decant.study import Data
from decant.workspace import replacing

log = logging.getLogger(__name__)

FILE = "manifest.parquet"
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
EXTRA = "extra"  # column of a study with extra sources: 0, or the number of the row's extra source
AUXILIARY = "auxiliary."  # begins the columns of a study with auxiliary columns: labels, None where missing
CLUSTER = "cluster"  # in a study with clusters: what several images show, None if unknown
MAY_BE_NONE = {"given_label", "label", "split", CLUSTER}
WARNING = "warning: "  # begins the reason of an image that is used although its decoder warned of it
BATCH_IMAGES, BATCH_BYTES = 64, 32 << 20  # per task of the pool
Progress = Callable[..., Iterator["tuple[str, DecodeResult]"]]


class DecodeResult(NamedTuple):
    """Facts from decoding a file. content: SHA-256 (hex) of its bytes, or "". width, height: pixels, or 0.

    problem: why it cannot be decoded, or "". warning: what the decoder warned of first; the image can be used.
    """

    content: str
    width: int
    height: int
    problem: str
    warning: str = ""


@dataclass(frozen=True)
class Manifest:
    """rows: a table with COLUMNS, one row per image, `id` unique. classes: the class names by their index.

    If the study has extra sources, auxiliary columns or clusters, the table also has EXTRA, AUXILIARY + name, CLUSTER.
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

    def is_extra(self) -> pd.Series:
        """True for the rows of extra sources, bool [n]."""
        if EXTRA not in self.rows.columns:
            return pd.Series(False, index=self.rows.index)
        return self.rows[EXTRA] > 0

    def main(self) -> "Manifest":
        """The manifest of the main source alone."""
        return Manifest(self.rows[~self.is_extra()].drop(columns=EXTRA, errors="ignore"), self.classes)

    def of_split(self, *splits: str) -> pd.DataFrame:
        """Kept rows of these splits ordered by id, with a new index."""
        rows = self.kept()
        return rows[rows["split"].isin(splits)].sort_values("id", ignore_index=True)

    def targets(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Class index of each row's `label`, int64 [n]; -1 for None. Raises ValueError for an unknown label."""
        index = {name: number for number, name in enumerate(self.classes)}
        unknown = set(rows["label"].dropna()) - set(index)
        if unknown:
            raise ValueError(f"labels that are not classes of the manifest: {sorted(unknown)}")
        return np.array([index.get(label, -1) for label in rows["label"]], dtype=np.int64)


def dependent_groups(rows: pd.DataFrame) -> NDArray[np.str_]:
    """A name per row, str [n], equal for rows that depend on one another.

    These are near duplicates and images of one cluster, also through other rows. Intervals draw these groups, and drawn
    splits and folds keep them whole.
    """
    groups = rows["group"].to_numpy(dtype=str)
    if CLUSTER not in rows:
        return groups
    cluster = rows[CLUSTER].where(rows[CLUSTER].notna(), "row " + rows["id"]).to_numpy(dtype=str)
    group_names, group = np.unique(groups, return_inverse=True)
    cluster_names, cluster_number = np.unique(cluster, return_inverse=True)
    nodes = len(group_names) + len(cluster_names)
    edges = coo_array((np.ones(len(rows)), (group, len(group_names) + cluster_number)), shape=(nodes, nodes))
    component = connected_components(edges, directed=False)[1][group]
    _, first = np.unique(component, return_index=True)
    return groups[first[np.unique(component, return_inverse=True)[1]]]


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
    names, new_names = renamed(source.classes, data.class_names), composed_keys(data.class_names)
    listed = list(source.list_images())
    items = [with_class_name(item, new_names) for item in listed if not item.extra]
    extras = extra_items([item for item in listed if item.extra], data.extra, names)
    if data.limit is not None:
        items = limited(items, data.limit, data.val_fraction, data.test_fraction, seed)
        extras = [limited(extra, data.limit, 0, 0, seed) for extra in extras]
    results = decode_results(source, [*items, *chain(*extras)], workers, progress)
    table = rows_of(items, results, data.further_columns)
    classes = trainable_classes(table, names)
    tables = [without_untrainable(table, classes)]
    if len(classes) < 2:
        raise UserError(too_few_classes(tables[0], classes))
    warn_of_classes(tables[0], classes)
    for extra_source, extra in zip(data.extra, extras, strict=True):
        tables.append(without_untrainable(rows_of(extra, results, data.further_columns), classes))
        log_extra(extra_source, tables[-1])
    table = pd.concat(tables, ignore_index=True)
    if data.extra:
        table[EXTRA] = np.repeat(np.arange(len(tables)), [len(rows) for rows in tables])
    count_warnings(table)
    return Manifest(with_clusters(table, data.cluster_column, data.cluster_pattern), classes)


def decode_results(
    source: Source, items: Sequence[ListedImage], workers: int, progress: Progress | None
) -> dict[str, DecodeResult]:
    """The result of decoding each readable image, by its path."""
    readable = [item.path for item in items if not item.problem]
    results: Iterator[tuple[str, DecodeResult]] = decode_all(source.contents(readable), workers)
    if progress is not None:
        results = progress(results, "reading images", total=len(readable), unit="images")
    with recorded_warnings():
        return dict(results)


def rows_of(
    items: Sequence[ListedImage], results: Mapping[str, DecodeResult], auxiliary_columns: Sequence[str]
) -> pd.DataFrame:
    """The rows of one source, in which copies in repeating folders are set aside."""
    unread = DecodeResult("", 0, 0, "it could not be read")
    rows = [
        row_of(item, DecodeResult("", 0, 0, item.problem) if item.problem else results.get(item.path, unread))
        for item in items
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for number, column in enumerate(auxiliary_columns):
        table[AUXILIARY + column] = [item.auxiliary[number] if item.auxiliary else None for item in items]
    return without_repeats(table, [item.in_repeat for item in items])


def without_untrainable(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The table in which rows of other classes are set aside."""
    untrainable = table["label"].notna() & ~table["label"].isin(classes) & (table["action"] != "drop")
    table = table.copy()
    table.loc[untrainable, "reason"] = "no image of its class to train on: " + table.loc[untrainable, "label"]
    table.loc[untrainable, "action"] = "drop"
    return table


def with_clusters(table: pd.DataFrame, column: str, pattern: str) -> pd.DataFrame:
    """The table with the column CLUSTER, from an auxiliary column or from the paths; as it is if both are empty.

    Raises UserError if no two images share a cluster: the key would have no effect.
    """
    if not (column or pattern):
        return table
    names = table[AUXILIARY + column] if column else table["path"].str.extract(pattern, expand=False)
    if not names.dropna().duplicated().any():
        key = f"cluster_column ({column})" if column else f"cluster_pattern ({pattern})"
        raise UserError(f"data.{key}: no two images share a cluster; name another column or pattern, or remove the key")
    return table.assign(**{CLUSTER: names.astype(object).where(names.notna(), None)})


def draw_splits(manifest: Manifest, seed: int, val_fraction: float, test_fraction: float) -> Manifest:
    """The manifest with a split in every row: missing splits are drawn (`assign_splits`).

    Call it once, after duplicates are grouped: drawn splits cannot be distinguished from given splits later.
    """
    rows = manifest.rows.assign(group=dependent_groups(manifest.rows))
    split = assign_splits(rows, seed, val_fraction, test_fraction)
    return Manifest(manifest.rows.assign(split=split), manifest.classes)


def hide_labels(manifest: Manifest, share: float, seed: int) -> Manifest:
    """The manifest in which a share of train alone is labelled; the other rows are unlabelled (`without_label`)."""
    if share == 1:
        return manifest
    rows = manifest.rows.copy()
    hidden = without_label(rows.assign(group=dependent_groups(rows)), share, seed)
    rows.loc[hidden, ["split", "given_label", "label"]] = ["unlabelled", None, None]
    return Manifest(rows, manifest.classes)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `folder/manifest.parquet` atomically, with the classes in the schema's metadata.

    Raises UserError on a full disk.
    """
    path = folder / FILE
    fields = [field_of(column) for column in manifest.rows.columns]
    schema = pa.schema(fields, {b"classes": json.dumps(manifest.classes, ensure_ascii=False).encode()})
    table = pa.Table.from_pandas(manifest.rows, schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(schema.metadata)
    try:
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk is full: {path} was not written. Make room on it and run again.") from error
        raise


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest that a stage wrote into `folder`. Raises UserError if it is missing or damaged."""
    path = folder / FILE
    try:
        table = pq.read_table(path)
        classes = json.loads(table.schema.metadata[b"classes"])
        return Manifest(table.to_pandas(), classes)
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a readable manifest ({error}). Delete it and run again to rebuild it."
        ) from error


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The manifest's columns in `rows`, with their types. Raises ValueError for a missing column or a repeated id."""
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise ValueError(f"the manifest lacks the columns {missing}")
    if rows["id"].duplicated().any():
        raise ValueError(f"ids occur twice in the manifest: {rows['id'][rows['id'].duplicated()].tolist()[:3]}")
    further = [column for column in rows.columns if column in (EXTRA, CLUSTER) or column.startswith(AUXILIARY)]
    columns = [*COLUMNS, *sorted(further)]
    return pd.DataFrame({column: typed(rows[column], field_of(column)) for column in columns}, columns=columns)


def field_of(column: str) -> pa.Field:
    """Name and type of a column."""
    if column in COLUMNS:
        return SCHEMA.field(column)
    return pa.field(column, pa.int64() if column == EXTRA else pa.string())


def typed(values: pd.Series, field: pa.Field) -> pd.Series:
    """One column: str objects with None for missing values (pandas' text type has NaN), or numbers."""
    if field.type != pa.string():
        return values.astype("float64" if field.type == pa.float64() else "int64")
    missing = values.isna()
    if missing.any() and field.name not in MAY_BE_NONE and not field.name.startswith(AUXILIARY):
        raise ValueError(f"a row of the manifest has no value in the column {field.name}")
    return values.astype(object).where(~missing, None)


def with_class_name(item: ListedImage, new_names: Mapping[str, str]) -> ListedImage:
    label = item.given_label
    return item if label is None else replace(item, given_label=new_names.get(label, label))


def row_of(item: ListedImage, result: DecodeResult) -> tuple[object, ...]:
    """The row of an image, in the order of COLUMNS."""
    identity = row_id(item.path)
    split = item.split if item.given_label is not None else split_without_label(item)
    aside = f"broken: {result.problem}" if result.problem else item.aside
    if split == "val" and item.given_label is None:
        aside = aside or "no label: an image of val needs one"
    reason = aside or (WARNING + result.warning if result.warning else "")
    action = "drop" if aside else "none"
    group = result.content or identity
    label = item.given_label
    size = (result.width, result.height)
    return (identity, result.content, item.path, label, label, split, group, 1.0, action, reason, *size)


def split_without_label(item: ListedImage) -> str:
    """The split of an image without a label: of test it becomes an image to predict, of val it stays in val."""
    if item.aside or item.split in ("val", "predict"):
        return item.split or "unlabelled"
    return "predict" if item.split == "test" else "unlabelled"


def decode_all(contents: Iterable[tuple[str, bytes | BrokenImage]], workers: int) -> Iterator[tuple[str, DecodeResult]]:
    """Yield (path, result) per file. The calling thread reads, `workers` threads decode, few files are in memory."""
    for results in parallel(decode_batch, batches(contents), workers, ahead=2 * workers + 1):
        yield from results


def decode_batch(batch: list[tuple[str, bytes | BrokenImage]]) -> list[tuple[str, DecodeResult]]:
    return [(path, decode_result(content)) for path, content in batch]


def batches(
    contents: Iterable[tuple[str, bytes | BrokenImage]],
) -> Iterator[list[tuple[str, bytes | BrokenImage]]]:
    """Batches of at most BATCH_IMAGES files, and of about BATCH_BYTES bytes."""
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


def decode_result(content: bytes | BrokenImage) -> DecodeResult:
    """Digest and size of an image and what its decoder warned of, or the reason why it cannot be decoded."""
    if isinstance(content, BrokenImage):
        return DecodeResult("", 0, 0, str(content))
    digest = hashlib.sha256(content).hexdigest()
    taken_warnings()  # drop the warnings of an earlier image that could not be decoded
    try:
        return DecodeResult(digest, *probe(content), "", next(iter(taken_warnings()), ""))
    except BrokenImage as error:
        return DecodeResult(digest, 0, 0, str(error))


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
