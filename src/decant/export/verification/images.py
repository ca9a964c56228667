"""The images that a file is verified on: a folder or an archive, read one by one with Pillow alone."""

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from decant.data.containers import leads_out, open_container
from decant.data.images import BrokenImage, decode
from decant.data.layout import SPLIT_NAMES, unwrapped, wrapping
from decant.errors import UserError
from decant.export.verification.comparison import Picture


class Images(ABC):
    """Images that are decoded one by one while they are iterated over.

    where: their origin, for people. split: which split they are; None for all images. paths: their ids. labels: id
    -> class name, where known. unknown: folder names that are no class. broken: id -> reason, of the images that
    could not be read in the last iteration.
    """

    where: object
    split: str | None
    paths: list[str]
    labels: dict[str, str]
    unknown: list[str]
    broken: dict[str, str]

    @abstractmethod
    def contents(self, ids: Sequence[str]) -> Iterable[tuple[str, bytes | BrokenImage]]:
        """(id, encoded bytes, or the reason why there are none) for these ids."""

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Picture]:
        self.broken = {}
        yield from self.read(self.paths)
        if len(self.broken) == len(self.paths):
            path, reason = next(iter(self.broken.items()))
            raise UserError(f"none of the {len(self.paths)} images in {self.where} can be read; {path}: {reason}")

    def read(self, ids: Sequence[str]) -> Iterator[Picture]:
        """Yield (id, uint8 [H, W, 3]); images that cannot be decoded are added to `broken` with the reason."""
        for id_, content in self.contents(ids):
            try:
                if isinstance(content, BrokenImage):
                    raise content
                yield id_, decode(content)
            except BrokenImage as error:
                self.broken[id_] = str(error)


class ImageFiles(Images):
    """Images below `where`, decoded exactly as everywhere in the project.

    They lie flat or in class folders, optionally below val/, train/ or test/. split: which of those; by default val
    if there is one, else all images. classes: the names that a class folder may have. Nothing is unpacked to disk,
    and archive bombs are refused. Raises UserError if there is no image.

    An id is the path, a label the folder's name.
    """

    def __init__(self, where: Path, classes: Sequence[str] = (), split: str | None = None) -> None:
        if not where.exists():
            raise UserError(f"{where} does not exist; give a folder or an archive of images")
        self.where = where
        self.container = open_container(where)
        images = [path for path, entry in self.container.entries.items() if entry.is_image]
        prefix = wrapping([path for path in images if not leads_out(path)], keep=classes)
        places = {path: unwrapped(path, prefix).split("/") for path in images}
        splits = {path: split_of(place, classes) for path, place in places.items()}
        self.split = split_to_read(split, set(splits.values()), where)
        chosen = [path for path in images if self.split is None or splits[path] == self.split]
        if not chosen:
            raise UserError(f"{where} contains no image; give a folder or an archive of images")
        # In an order that mixes the classes, so that batches contain images of all of them.
        self.paths = sorted(chosen, key=lambda path: hashlib.sha256(path.encode()).digest())
        folders = {path: class_folder(places[path], splits[path] is not None) for path in self.paths}
        self.labels, self.unknown = known_labels(folders, classes)
        self.broken: dict[str, str] = {}

    def contents(self, ids: Sequence[str]) -> Iterable[tuple[str, bytes | BrokenImage]]:
        return self.container.contents(ids)


def split_of(place: Sequence[str], classes: Sequence[str]) -> str | None:
    """The split that the uppermost folder names. A folder whose name is also a class (train) needs folders below it."""
    if len(place) < 2 or (place[0] in classes and len(place) < 3):
        return None
    return SPLIT_NAMES.get(place[0].lower())


def split_to_read(wanted: str | None, there: set[str | None], where: Path) -> str | None:
    """The split asked for; by default val if there is one, else None for all. Raises UserError if it is missing."""
    if wanted is None:
        return "val" if "val" in there else None
    if SPLIT_NAMES.get(wanted.lower(), wanted) not in there:
        found = ", ".join(sorted(split for split in there if split)) or "none"
        raise UserError(f"{where} has no folder for the split {wanted!r}; it has {found}")
    return SPLIT_NAMES.get(wanted.lower(), wanted)


def class_folder(place: Sequence[str], below_split: bool) -> str | None:
    """The name of the class folder; None for an image in no class folder."""
    inner = place[1:] if below_split else place
    return inner[0] if len(inner) > 1 else None


def known_labels(folders: Mapping[str, str | None], classes: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """(path -> class, other folder names), in Unicode's NFC form (macOS stores accents decomposed)."""
    known = {unicodedata.normalize("NFC", name): name for name in classes}
    named = {path: unicodedata.normalize("NFC", folder) for path, folder in folders.items() if folder is not None}
    labels = {path: known[folder] for path, folder in named.items() if folder in known}
    return labels, sorted(set(named.values()) - set(known))
