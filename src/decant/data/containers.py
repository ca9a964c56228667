"""Folders, zip and tar archives behind one interface: named files to list and to read. Nothing is unpacked to disk.

Names are untrusted. A file whose name leads out of the container, a link in an archive and an encrypted member are
listed with their problem, so that no file is lost and no link is followed.
"""

import hashlib
import logging
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from decant.data.file_digest import file_digest
from decant.data.file_names import (
    ArchiveNames,
    has_surrogates,
    hidden_part,
    is_hidden,
    leads_out,
    printable,
    stored_name,
)
from decant.data.images import RAW_EXTENSIONS, BrokenImage, kind_of_file, looks_like_image
from decant.errors import UserError

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1 << 29  # per file; no photo is larger
MAX_ARCHIVE_BYTES = 1 << 40  # of all files of an archive, unpacked
MAX_ARCHIVE_RATIO = 100  # unpacked to packed; photos hardly shrink, uncompressed bitmaps by a factor of ten
RATIO_MATTERS_BYTES = 1 << 30  # below this size a high ratio is harmless
IMAGE_EXTENSIONS = set(
    "jpg jpeg jpe jfif png gif bmp dib webp tif tiff ppm pgm pbm pnm tga ico pcx sgi jp2 j2k jpx avif avifs "
    "heic heics heif heifs hif jxl psd svg".split()
)
ARCHIVE_ENDINGS = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
# Archives that are not read: by their first bytes, and by the ending of a file in a folder.
OTHER_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a file compressed by zstd",
}
OTHER_ARCHIVE_ENDINGS = (".7z", ".rar", ".zst")
# The archive readers raise these for damage, an unknown compression or a password.
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RuntimeError,
)


@dataclass(frozen=True)
class Entry:
    """One file of a container. `path` is relative, separated by "/", printable and unique in the container."""

    path: str
    key: Any  # identifies the file in its container
    size: int  # bytes, unpacked
    is_image: bool
    problem: str = ""


class Container(ABC):
    """Files by relative path. Reading keeps no state, so several threads may read at once."""

    def __init__(self, where: Path, encoding: str = "") -> None:
        self.where = where
        self.encoding = encoding
        self.folders: set[str] = set()  # filled by listing; includes empty folders
        self.passed_over: Counter[str] = Counter()  # filled by listing: hidden file or folder -> files

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Every file except hidden ones, by its path and ordered by path. Raises UserError if it cannot be listed."""
        known: dict[str, Entry] = {}
        for entry in self._list():
            if hidden := hidden_part(entry.path):
                self.passed_over[hidden] += 1
                continue
            if entry.path in known:  # the last copy wins, as in unzip and tar
                earlier = self._free_name(known, entry.path)
                problem = "the archive holds this name more than once; the last copy is used"
                known[earlier] = replace(known[entry.path], path=earlier, problem=problem)
            known[entry.path] = entry
        if self.passed_over:
            examples = ", ".join(f"{count} in {name}" for name, count in self.passed_over.most_common(5))
            more = " …" if len(self.passed_over) > 5 else ""
            log_passed_over(self.where, self.passed_over.total(), examples + more)
        return dict(sorted(known.items()))

    @abstractmethod
    def _list(self) -> Iterator[Entry]: ...

    @abstractmethod
    def _read(self, entries: Sequence[Entry]) -> Iterator[tuple[str, bytes | BrokenImage]]: ...

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        """Yield the bytes of each path once, in any order; a BrokenImage for a file that cannot be read."""
        wanted = [self.entries[path] for path in dict.fromkeys(paths)]
        yield from ((entry.path, BrokenImage(entry.problem)) for entry in wanted if entry.problem)
        yield from self._read([entry for entry in wanted if not entry.problem])

    def read_one(self, path: str) -> bytes:
        """The bytes of one file. Raises UserError if it cannot be read."""
        for _, content in self.contents([path]):
            if isinstance(content, bytes):
                return content
            raise UserError(f"{path} in {self.where} cannot be read: {content}")
        raise UserError(f"{path} is not in {self.where}")

    def digest(self) -> str:
        """SHA-256 (hex) of the archive's bytes."""
        return file_digest(self.where)

    def _entry(self, name: str, key: Any, size: int, problem: str, head: Callable[[], bytes]) -> Entry:
        """The entry of a listed file. head: returns its first bytes; called unless the extension is an image's."""
        path = printable(name)
        if not problem and size > MAX_FILE_BYTES:
            problem = f"{size} bytes, more than {MAX_FILE_BYTES}"
        extension = path.rpartition("/")[2].rpartition(".")[2].lower() if "." in path else ""
        if extension in RAW_EXTENSIONS:
            problem = problem or RAW_EXTENSIONS[extension]
        if leads_out(path):
            problem = problem or "its name leads out of the archive"
        else:
            path = without_dots(path)
        is_image = extension in IMAGE_EXTENSIONS or extension in RAW_EXTENSIONS
        if not is_image and not problem and not is_hidden(path):
            is_image = looks_like_image(head())  # an image without an extension, or with a wrong one
        return Entry(path, key, size, is_image, problem)

    @staticmethod
    def _free_name(known: dict[str, Entry], path: str) -> str:
        return next(name for n in range(1, len(known) + 2) if (name := f"{path} (earlier copy {n})") not in known)

    def _guard(self, unpacked: int) -> None:
        packed = max(1, self.where.stat().st_size)
        too_dense = unpacked > RATIO_MATTERS_BYTES and unpacked / packed > MAX_ARCHIVE_RATIO
        if unpacked > MAX_ARCHIVE_BYTES or too_dense:
            raise UserError(
                f"{self.where} holds {packed} bytes and unpacks to {unpacked} or more: it looks like an "
                "archive bomb and was not read. If you trust it, unpack it yourself and name the folder."
            )

    def _damaged(self, error: Exception) -> UserError:
        return UserError(f"{self.where} is truncated, damaged or not readable ({error}). Fetch it again.")


class FolderContainer(Container):
    """A folder on disk. Links are the user's own and are followed, but never in a circle."""

    def __init__(self, where: Path, digest_contents: bool = False) -> None:
        super().__init__(where)
        self.digest_contents = digest_contents

    def digest(self) -> str:
        """SHA-256 (hex) over path, size and modification time of each file, or over path and bytes if asked."""
        total = hashlib.sha256()
        for path, entry in self.entries.items():
            if self.digest_contents and not entry.problem:
                version: object = hashlib.sha256(Path(entry.key).read_bytes()).hexdigest()
            else:
                version = (entry.size, os.stat(entry.key).st_mtime_ns if not entry.problem else 0)
            total.update(repr((path, version)).encode())
        return total.hexdigest()

    def _list(self) -> Iterator[Entry]:
        yield from self._walk(str(self.where), "", frozenset())

    def _walk(self, folder: str, inside: str, above: frozenset[str]) -> Iterator[Entry]:
        above = above | {os.path.realpath(folder)}
        try:
            with os.scandir(folder) as listing:
                items = sorted(listing, key=lambda item: item.name)
        except OSError as error:
            raise UserError(
                f"The folder {folder} cannot be read: {error.strerror}. Check its permissions (ls -ld)."
            ) from error
        for item in items:
            name = inside + item.name
            if is_hidden(item.name) and item.is_dir(follow_symlinks=False):
                self._pass_over(item.path, item.name)
            elif is_hidden(item.name):
                self.passed_over[hidden_part(item.name)] += 1
            elif not is_folder(item):
                yield self._file(item.path, name)
            elif os.path.realpath(item.path) in above:
                log.warning("%s is a link to a folder above it; not followed", item.path)
            else:
                self.folders.add(printable(name))
                yield from self._walk(item.path, name + "/", above)

    def _pass_over(self, folder: str, name: str) -> None:
        self.passed_over[name] += sum(len(files) for _, _, files in os.walk(folder))

    def _file(self, path: str, name: str) -> Entry:
        size, problem = 0, ""
        try:
            status = os.stat(path)
            size = status.st_size
            problem = "" if stat.S_ISREG(status.st_mode) else "not a regular file"
        except OSError as error:
            problem = f"cannot be read: {error.strerror}" + (" (a link)" if os.path.islink(path) else "")
        return self._entry(name, path, size, problem, partial(first_bytes, path))

    def _read(self, entries: Sequence[Entry]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        for entry in entries:
            try:
                yield entry.path, Path(entry.key).read_bytes()
            except OSError as error:
                yield entry.path, BrokenImage(f"cannot be read: {error.strerror}")


class ZipContainer(Container):
    """A zip archive, read in place."""

    def _list(self) -> Iterator[Entry]:
        try:
            with zipfile.ZipFile(self.where) as archive:
                members = archive.infolist()
                self._guard(sum(member.file_size for member in members))
                names = ArchiveNames([stored_name(member) for member in members], self.where, self.encoding)
                for member, decoded in zip(members, names.decoded, strict=True):
                    name = decoded.replace("\\", "/")  # some Windows tools write backslashes
                    if name.endswith("/"):
                        self.folders.add(without_dots(printable(name)))
                    else:
                        yield self._entry(
                            name,
                            member,
                            member.file_size,
                            zip_problem(member),
                            partial(zip_head, archive, member),
                        )
        except DAMAGED as error:
            raise self._damaged(error) from error

    def _read(self, entries: Sequence[Entry]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        with zipfile.ZipFile(self.where) as archive:
            for entry in entries:
                try:
                    content: bytes | BrokenImage = archive.read(entry.key)
                except DAMAGED as error:
                    content = BrokenImage(f"damaged in the archive: {error}")
                yield entry.path, content


class TarContainer(Container):
    """A tar archive, compressed or not: one pass to list it, one per reading, and no seek backwards."""

    def _list(self) -> Iterator[Entry]:
        unpacked = 0
        try:
            with tarfile.open(self.where, "r:*") as archive:
                for position, member in enumerate(archive):
                    unpacked += member.size
                    self._guard(unpacked)
                    name = self._named(member.name)
                    if member.isdir():
                        self.folders.add(without_dots(printable(name)))
                    else:
                        head = partial(read_member, archive, member, 16)
                        yield self._entry(name, position, member.size, tar_problem(member), head)
        except DAMAGED as error:
            raise self._damaged(error) from error

    def _named(self, name: str) -> str:
        """The name, decoded in the code page that the study gives. Warns of the first name that is not UTF-8."""
        if name.isascii() or not has_surrogates(name):
            return name
        [decoded] = ArchiveNames([name.encode("utf-8", "surrogateescape")], self.where, self.encoding).decoded
        return decoded

    def _read(self, entries: Sequence[Entry]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        paths = {entry.key: entry.path for entry in entries}
        try:
            with tarfile.open(self.where, "r:*") as archive:
                for position, member in enumerate(archive):
                    if not paths:
                        return
                    if position in paths:
                        yield paths.pop(position), read_member(archive, member)
        except DAMAGED as error:
            raise self._damaged(error) from error


@cache
def log_passed_over(where: Path, count: int, examples: str) -> None:
    """Log a line once per container: it is listed to detect its layout, and again to be read."""
    log.info("passed over %d leftover files of systems in %s (%s)", count, where, examples)


def open_container(where: Path, digest_contents: bool = False, encoding: str = "") -> Container:
    """Open the container at `where`. Raises UserError if it is neither a folder nor a zip nor a tar.

    encoding: code page of names in an archive that are not marked as UTF-8; "": UTF-8 if all decode, else cp437.
    """
    try:
        if where.is_dir():
            return FolderContainer(where, digest_contents)
        if zipfile.is_zipfile(where):
            return ZipContainer(where, encoding)
        if tarfile.is_tarfile(where):
            return TarContainer(where, encoding)
    except DAMAGED as error:
        raise UserError(f"{where} cannot be read: {error}. Check its permissions.") from error
    raise UserError(why_no_container(where))


def why_no_container(where: Path) -> str:
    """What the file is instead of a folder, zip or tar, and what to do."""
    head = first_bytes(str(where))
    packed = next((kind for start, kind in OTHER_ARCHIVES.items() if head.startswith(start)), "")
    if packed:
        return f"{where} is {packed}, and only zip and tar archives are read. Unpack it and give the folder."
    if looks_like_image(head):
        return f"{where} is a single image. Give the folder that contains it."
    kind = kind_of_file(head)
    if kind and not head.startswith(b"PK"):  # a damaged zip
        return f"{where} is no folder, zip or tar archive, but {kind}. If you downloaded it, fetch it again."
    return f"{where} is neither a folder nor a readable zip or tar archive; it may be damaged. Fetch it again."


def is_folder(item: os.DirEntry[str]) -> bool:
    """True for a folder or a link to one; False for a link that leads to itself."""
    try:
        return item.is_dir()
    except OSError:
        return False


def without_dots(path: str) -> str:
    """The path without empty parts and ".": ./cat//1.jpg is cat/1.jpg."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def first_bytes(path: str) -> bytes:
    """The first 16 bytes of a file; b"" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except OSError:
        return b""


def zip_problem(member: zipfile.ZipInfo) -> str:
    """Why a member is not read; "" if it is read."""
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link in the archive, not followed"
    return "encrypted in the archive" if member.flag_bits & 1 else ""


def zip_head(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            return file.read(16)
    except DAMAGED:
        return b""


def tar_problem(member: tarfile.TarInfo) -> str:
    """Why a member is not read; "" if it is read."""
    if member.issym() or member.islnk():
        return "a link in the archive, not followed"
    if not member.isfile() or member.issparse():
        return "not a regular file in the archive"
    return ""


def read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, count: int = -1) -> bytes:
    """The first `count` bytes of a member; all of them for -1."""
    file = archive.extractfile(member)
    return b"" if file is None else file.read(count)
