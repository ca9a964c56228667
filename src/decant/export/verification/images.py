"""The images that a file is verified on, from a folder or an archive, read one by one with Pillow alone."""

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from decant.data.containers import open_container
from decant.data.file_names import leads_out
from decant.data.images import BrokenImage, decode
from decant.data.layout import doubled_folders, split_of_name, unwrapped, without_doubles, wrapping
from decant.errors import UserError
from decant.export.verification.comparison import ImageWithId


class Images(ABC):
    """Images that are decoded one by one while they are iterated over.

    where: their origin, for people. split: the split that they belong to; None for all images. paths: their ids.
    labels: id -> class name, where known. unknown: folder names that are not a class. broken: id -> reason, for the
    images that could not be read in the last iteration.
    """

    where: object
    split: str | None
    paths: list[str]
    labels: dict[str, str]
    unknown: list[str]
    broken: dict[str, str]

    @abstractmethod
    def contents(self, ids: Sequence[str]) -> Iterable[tuple[str, bytes | BrokenImage]]:
        """Yield (id, encoded bytes or the error that prevented reading them) for these ids."""

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[ImageWithId]:
        self.broken = {}
        yield from self.read(self.paths)
        if len(self.broken) == len(self.paths):
            path, reason = next(iter(self.broken.items()))
            raise UserError(f"none of the {len(self.paths)} images in {self.where} can be read; {path}: {reason}")

    def read(self, ids: Sequence[str]) -> Iterator[ImageWithId]:
        """Yield (id, uint8 [H, W, 3]); images that cannot be decoded are added to `broken` with the reason."""
        for id_, content in self.contents(ids):
            try:
                if isinstance(content, BrokenImage):
                    raise content
                yield id_, decode(content)
            except BrokenImage as error:
                self.broken[id_] = str(error)


class ImageFiles(Images):
    """Images below `where`, decoded by the same code as in training.

    They are in one folder or in class folders, optionally below val/, train/ or test/. An id is a path, a label is the
    name of a class folder. split: which of val, train and test; by default val if it exists, else all images. classes:
    the names that a class folder may have. Nothing is unpacked to disk, and archive bombs are refused. Raises UserError
    if there is no image.
    """

    def __init__(self, where: Path, classes: Sequence[str] = (), split: str | None = None) -> None:
        if not where.exists():
            raise UserError(f"{where} does not exist; give a folder or an archive of images")
        self.where = where
        self.container = open_container(where)
        images = [path for path, entry in self.container.entries.items() if entry.is_image]
        prefix = wrapping([path for path in images if not leads_out(path)], keep=classes)
        parts = {path: unwrapped(path, prefix).split("/") for path in images}
        doubled = doubled_folders(list(parts.values()))
        parts = {path: without_doubles(inner, doubled - set(classes)) for path, inner in parts.items()}
        splits = {path: split_of(parts[path], classes) for path in images}
        self.split = split_to_read(split, set(splits.values()), where)
        selected = [path for path in images if self.split is None or splits[path] == self.split]
        if not selected:
            raise UserError(f"{where} contains no image; give a folder or an archive of images")
        # The order mixes the classes, so that batches contain images of several classes.
        self.paths = sorted(selected, key=lambda path: hashlib.sha256(path.encode()).digest())
        folders = {path: class_folder(parts[path], splits[path] is not None) for path in self.paths}
        self.labels, self.unknown = known_labels(folders, classes)
        self.broken: dict[str, str] = {}

    def contents(self, ids: Sequence[str]) -> Iterable[tuple[str, bytes | BrokenImage]]:
        return self.container.contents(ids)


def split_of(parts: Sequence[str], classes: Sequence[str]) -> str | None:
    """The split that a path's first folder names. If the name is also a class (train), a folder must be below it."""
    if len(parts) < 2 or (parts[0] in classes and len(parts) < 3):
        return None
    split = split_of_name(parts[0])
    return split if split in ("train", "val", "test") else None


def split_to_read(wanted: str | None, splits: set[str | None], where: Path) -> str | None:
    """The wanted split; by default val if it exists, else None for all images. Raises UserError if it is missing."""
    if wanted is None:
        return "val" if "val" in splits else None
    if (split_of_name(wanted) or wanted) not in splits:
        names = ", ".join(sorted(split for split in splits if split)) or "none"
        raise UserError(f"{where} has no folder for the split {wanted!r}; it has {names}")
    return split_of_name(wanted) or wanted


def class_folder(parts: Sequence[str], below_split: bool) -> str | None:
    """The name of the class folder; None for an image that is not in one."""
    inner = parts[1:] if below_split else parts
    return inner[0] if len(inner) > 1 else None


def known_labels(folders: Mapping[str, str | None], classes: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """(path -> class, names of other folders), compared in Unicode's NFC form: macOS decomposes accents."""
    known = {unicodedata.normalize("NFC", name): name for name in classes}
    names = {path: unicodedata.normalize("NFC", folder) for path, folder in folders.items() if folder is not None}
    labels = {path: known[folder] for path, folder in names.items() if folder in known}
    return labels, sorted(set(names.values()) - set(known))
