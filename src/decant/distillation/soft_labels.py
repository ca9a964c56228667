"""The soft-label store: one teacher's probabilities for stored views, one file per view number.

    folder/
      header.json                 identifies the labels: teacher, folds, view version; classes, layout
      contents.txt                the images' content hashes, one per line: row i of every view is line i
      view-00003-5d41402a.npy     view number 3; the CRC-32 of the file is in its name

A view is (image, view number); its row has 2 * K bytes up to 64 classes and (2 + index size) * k + 2 above, where only
the top k classes and the rest mass are stored. A file is complete or missing: it is written under another name and
renamed, and its CRC is checked before it is first read. Views can be added at any time, in any order, by several
processes as long as no two write the same view.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decant.distillation.row_layout import RowLayout
from decant.ensemble.pooling import pool
from decant.errors import UserError
from decant.workspace import replacing

FORMAT = 1
TOP_K = 16
REQUIRED = ("teacher_digest", "folds", "view_version")

Probabilities = NDArray[np.float32]
Rows = NDArray[np.integer[Any]]


class SoftLabelStore:
    """One teacher's soft labels in a folder. Made by `create` or `open`, never directly."""

    def __init__(self, folder: Path, header: dict[str, Any]):
        self.folder = folder
        self.header = header
        self.teacher: str = header["teacher"]
        self.layout = RowLayout(header["classes"], header["top_k"])
        self._open_views: dict[int, NDArray[Any]] = {}

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        contents: Sequence[str],
        classes: int,
        teacher: str,
        header: Mapping[str, Any],
        top_k: int = TOP_K,
    ) -> SoftLabelStore:
        """Create the store in `folder`, or open it if it contains the same labels.

        contents: n different content hashes, in row order. classes: K. header: JSON values, with at least the keys
        of REQUIRED. top_k: classes stored per row, used above 64 classes only. Raises UserError if the folder
        contains another store or cannot be written, ValueError for wrong arguments.
        """
        wanted = _header(contents, classes, teacher, header, top_k)
        if (folder / "header.json").exists():
            store = cls.open(folder)
            _require_same(folder, store.header, wanted)
            return store
        _make_folder(folder)
        # Without a header nothing identifies the views in this folder. The header is written last.
        for stray in folder.glob("view-*.npy"):
            stray.unlink()
        _write(folder / "contents.txt", "\n".join(contents).encode())
        _write(folder / "header.json", json.dumps(wanted, indent=1, sort_keys=True).encode())
        return cls(folder, wanted)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        contents: Sequence[str] | None = None,
        classes: int | None = None,
        teacher: str | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> SoftLabelStore:
        """Open the store in `folder`; the given values must match it. Raises UserError if they do not."""
        path = folder / "header.json"
        if not path.is_file():
            raise UserError(f"no soft labels in {folder}: run distill/make_soft_labels.py.")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            complete = stored["format"] == FORMAT and {*_STORE_KEYS, *REQUIRED} <= set(stored)
        except (ValueError, KeyError, TypeError):
            complete = False
        if not complete:
            raise UserError(
                f"{path} is damaged or of another version: delete {folder} and run distill/make_soft_labels.py."
            )
        wanted = {"classes": classes, "teacher": teacher, "contents_digest": contents and _digest(contents)}
        wanted = {key: value for key, value in wanted.items() if value is not None} | _as_json(header or {})
        _require_same(folder, {key: stored.get(key) for key in wanted}, wanted)
        return cls(folder, stored)

    def contents(self) -> list[str]:
        """The images' content hashes in row order. Raises UserError if the file was changed."""
        path = self.folder / "contents.txt"
        contents = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        if _digest(contents) != self.header["contents_digest"]:
            raise UserError(f"{path} was changed: delete {self.folder} and run distill/make_soft_labels.py.")
        return contents

    def rows_of(self, contents: Sequence[str]) -> NDArray[np.int64]:
        """The rows of these images, int64 [m]. Raises UserError for an image without soft labels."""
        row = {content: index for index, content in enumerate(self.contents())}
        absent = [content for content in contents if content not in row]
        if absent:
            raise UserError(
                f"{len(absent)} images (first: {absent[0][:16]}) have no soft labels in {self.folder}: "
                "run distill/make_soft_labels.py for the current manifest."
            )
        return np.array([row[content] for content in contents], dtype=np.int64)

    def missing(self, views: Iterable[int]) -> list[int]:
        """The numbers in `views` that have no complete file. Each file is read once to check it."""
        return [view for view in views if self._view(view) is None]

    def write(self, view: int, probabilities: Probabilities) -> None:
        """Store a view: float32 [n, K] probabilities in the order of `contents`. Replaces an older file of the view.

        Raises ValueError for another shape, NaN, negative numbers or rows that do not sum to 1 (such as logits), and
        UserError if the disk is full (no partial file remains).
        """
        buffer = io.BytesIO()
        np.save(buffer, self.layout.encode(self._checked(view, probabilities)), allow_pickle=False)
        name = f"view-{view:05d}-{zlib.crc32(buffer.getbuffer()):08x}.npy"
        _write(self.folder / name, buffer.getbuffer())
        for older in self._files(view):
            if older.name != name:
                older.unlink()
        self._open_views.pop(view, None)

    def read(self, view: int, rows: Rows) -> Probabilities:
        """Probabilities float32 [len(rows), K] of a view's rows, each summing to 1; memory-mapped.

        A sparse store spreads the rest mass evenly over the classes that it does not contain. Raises UserError for a
        view that is missing or damaged, IndexError for rows outside [0, n).
        """
        stored = self._view(view)
        if stored is None:
            raise UserError(
                f"view {view} of teacher {self.teacher!r} is missing or damaged in {self.folder}: "
                "run distill/make_soft_labels.py again."
            )
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(stored)):
            raise IndexError(f"rows must be in [0, {len(stored) - 1}], got {rows.min()} to {rows.max()}")
        return self.layout.decode(np.asarray(stored[rows]))

    def as_stored(self, probabilities: Probabilities) -> Probabilities:
        """What `read` returns once these probabilities [m, K] are written: float32 [m, K]."""
        return self.layout.decode(self.layout.encode(probabilities.astype(np.float64)))

    # ---- files ----

    def _checked(self, view: int, probabilities: Probabilities) -> NDArray[np.float64]:
        expected = (self.header["rows"], self.layout.classes)
        if view < 0 or probabilities.shape != expected:
            raise ValueError(f"view {view}: expected probabilities {expected}, got {probabilities.shape}")
        exact = probabilities.astype(np.float64)
        sums = exact.sum(axis=1, keepdims=True)
        if not ((exact >= 0).all() and (np.abs(sums - 1) < 1e-2).all()):
            raise ValueError(f"view {view}: the rows are not probabilities (numbers from 0 to 1 that sum to 1)")
        return exact / sums

    def _files(self, view: int) -> list[Path]:
        return sorted(self.folder.glob(f"view-{view:05d}-*.npy"))

    def _view(self, view: int) -> NDArray[Any] | None:
        """The memory-mapped view, or None if no complete file exists. A file is checked once, when first opened."""
        if view not in self._open_views:
            shape, dtype = self.layout.shape(self.header["rows"]), self.layout.dtype
            candidates = (_mapped_if_complete(path, shape, dtype) for path in self._files(view))
            array = next((mapped for mapped in candidates if mapped is not None), None)
            if array is None:
                return None
            self._open_views[view] = array
        return self._open_views[view]


def pooled(
    stores: Sequence[SoftLabelStore],
    weights: Sequence[float] | NDArray[np.float64],
    temperatures: Sequence[float],
    view: int,
    rows: Rows,
    temperature: float = 1.0,
    *,
    log_linear: bool = False,
) -> Probabilities:
    """The pooled probabilities of the teachers for rows of a view, float32 [len(rows), K]; runs no network.

    One weight (at least 0, summing to 1) and one temperature per store; a store of weight 0 is not read. temperature,
    log_linear: of the pool, as in decant.ensemble.pooling. Raises ValueError if the stores' headers differ in more than
    the teacher's own keys, and what `read` and `pool` raise.
    """
    for key in sorted({key for store in stores for key in store.header} - set(_TEACHER_KEYS)):
        if any(store.header.get(key) != stores[0].header.get(key) for store in stores):
            raise ValueError(f"stores differ in {key}: {[(s.teacher, s.header.get(key)) for s in stores]}")
    if not len(stores) == len(weights) == len(temperatures):
        raise ValueError(f"{len(stores)} stores, {len(weights)} weights, {len(temperatures)} temperatures")
    used = [m for m, weight in enumerate(weights) if weight != 0]
    return pooled_probabilities(
        [stores[m].read(view, rows) for m in used],
        [weights[m] for m in used],
        [temperatures[m] for m in used],
        temperature,
        log_linear=log_linear,
    )


def pooled_probabilities(
    probabilities: Sequence[Probabilities],
    weights: Sequence[float],
    temperatures: Sequence[float],
    temperature: float = 1.0,
    *,
    log_linear: bool = False,
) -> Probabilities:
    """`decant.ensemble.pooling.pool` of probabilities, [n, K] per member, instead of logarithms: float32 [n, K]."""
    with np.errstate(divide="ignore"):
        logs = [np.log(values) for values in probabilities]
    mixture: Probabilities = np.exp(pool(logs, weights, temperatures, temperature, log_linear=log_linear))
    return mixture


# ---- header ----

_TEACHER_KEYS = ("teacher", "teacher_digest", "folds", "top_k")
_STORE_KEYS = ("format", "teacher", "classes", "rows", "top_k", "contents_digest")


def _header(
    contents: Sequence[str], classes: int, teacher: str, header: Mapping[str, Any], top_k: int
) -> dict[str, Any]:
    absent, reserved = set(REQUIRED) - set(header), set(_STORE_KEYS) & set(header)
    if absent or reserved:
        raise ValueError(f"header lacks {sorted(absent)} or sets the store's own keys {sorted(reserved)}")
    if not contents or len(set(contents)) != len(contents) or any("\n" in content for content in contents):
        raise ValueError(
            "contents must be at least one image hash, none repeated: a row is identified by its image's content"
        )
    layout = RowLayout.of(classes, top_k)
    return {
        "format": FORMAT,
        "teacher": teacher,
        "classes": layout.classes,
        "rows": len(contents),
        "top_k": layout.top_k,
        "contents_digest": _digest(contents),
    } | _as_json(header)


def _require_same(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    keys = [key for key in sorted({*stored, *wanted}) if stored.get(key) != wanted.get(key)]
    if keys:
        differences = "; ".join(f"{key} is {stored.get(key)!r}, expected {wanted.get(key)!r}" for key in keys)
        raise UserError(
            f"the soft labels in {folder} do not match: {differences}. "
            "Give another folder, or delete this one to make them again."
        )


def _as_json(header: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(dict(header)))  # as read back from JSON: tuples become lists
    return values


def _digest(contents: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


# ---- bytes ----


def _mapped_if_complete(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The memory-mapped array, or None if any byte of the file differs from what was written."""
    with path.open("rb") as file:
        crc = 0
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    if f"{crc:08x}" != path.stem.split("-")[-1]:
        return None
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped if mapped.shape == shape and mapped.dtype == dtype else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make {folder}: {error.strerror or error}. Give another folder or free some space."
        ) from error


def _write(path: Path, data: bytes | memoryview) -> None:
    try:
        with replacing(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Free some space and run again.") from error
