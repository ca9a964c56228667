"""File names: leftovers of systems, names that lead out of a folder, and the code pages of archives."""

import codecs
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from decant.errors import UserError

log = logging.getLogger(__name__)

# Files and folders that operating systems, NAS devices and programs leave behind; all in lower case.
HIDDEN = set(
    "__macosx thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini $recycle.bin recycler recycled lost+found "
    "@eadir @tmp @recycle @recently-snapshot @__thumb #recycle #snapshot #eadir __pycache__".split()
) | {"system volume information", "icon\r", "network trash folder", "temporary items"}
ZIP_UTF8 = 0x800  # flag of a member whose name is UTF-8
ARCHIVE_DEFAULT = "cp437"  # the code page that the zip format prescribes
GUESSES = ("gbk", "shift_jis", "cp949", "big5", "cp1251", "cp866", "cp1252")


def is_hidden(path: str) -> bool:
    """True if a part of the path is a file or folder that systems create, not people."""
    return bool(hidden_part(path))


def hidden_part(path: str) -> str:
    """The first part of the path that systems create ("._*" stands for the copies that macOS adds), or ""."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    hidden = next((part for part in parts if part.startswith(".") or part.lower() in HIDDEN), "")
    return "._*" if hidden.startswith("._") else hidden


def has_surrogates(name: str) -> bool:
    """True if the name contains bytes that could not be decoded (PEP 383)."""
    return any("\udc80" <= letter <= "\udcff" for letter in name)


def stored_name(member: zipfile.ZipInfo) -> str | bytes:
    """The name of a zip's member; its bytes if their encoding is not known."""
    if member.flag_bits & ZIP_UTF8 or member.orig_filename.isascii():
        return member.filename
    try:
        raw = member.orig_filename.encode("cp437")  # as zipfile decodes such names
    except UnicodeEncodeError:
        return member.filename
    return unicode_path(member.extra, raw) or raw


def unicode_path(extra: bytes, raw: bytes) -> str:
    """The UTF-8 name that Info-ZIP stores in the extra field 0x7075, if it belongs to the name `raw`; else ""."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == 0x7075 and len(body) > 5 and struct.unpack("<L", body[1:5])[0] == zlib.crc32(raw):
            return body[5:].decode("utf-8", "replace")
    return ""


def leads_out(path: str) -> bool:
    """True if the name would lead out of the folder in which it is unpacked."""
    return path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:[\\/]", path) is not None


def printable(name: str) -> str:
    """The name with bytes that are not UTF-8 escaped; a table could not store them otherwise."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class ArchiveNames:
    """The names in an archive, decoded.

    names: str where their encoding is known, else the stored bytes. encoding: `data.zip_encoding`, may be "".
    decoded: every name as str. Without an encoding, names that are not UTF-8 are read as cp437, and a warning names
    the key. Raises UserError for an encoding that does not exist or that the names are not in.
    """

    def __init__(self, names: Sequence[str | bytes], where: Path, encoding: str = "") -> None:
        self.where = where
        raw = [name for name in names if isinstance(name, bytes)]
        self.encoding = known_encoding(encoding, "data.zip_encoding") if encoding else self._guess(raw)
        self.decoded = [self._decode(name) if isinstance(name, bytes) else name for name in names]

    def _guess(self, raw: Sequence[bytes]) -> str:
        foreign = next((name for name in raw if not decodes(name, "utf-8")), None)
        if foreign is None:
            return "utf-8"
        warn_of_foreign_names(self.where, foreign)
        return ARCHIVE_DEFAULT

    def _decode(self, name: bytes) -> str:
        try:
            return name.decode(self.encoding)
        except UnicodeDecodeError:
            raise UserError(
                f"data.zip_encoding: the name {name!r} in {self.where} is not {self.encoding}. {readings(name)}"
            ) from None


@cache
def warn_of_foreign_names(where: Path, example: bytes) -> None:
    """Warn once per archive."""
    log.warning(
        "names in %s are not Unicode; set data.zip_encoding to their code page. %s (now read as %s: %s)",
        where, readings(example), ARCHIVE_DEFAULT, example.decode(ARCHIVE_DEFAULT),
    )  # fmt: skip


def readings(name: bytes) -> str:
    """How the name reads in the usual code pages."""
    possible = [f"{encoding}: {name.decode(encoding)}" for encoding in GUESSES if decodes(name, encoding)]
    return f"An example in several of them: {'; '.join(possible)}"


def decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def known_encoding(encoding: str, key: str) -> str:
    """The encoding's name in lower case. Raises UserError if Python has no such text encoding."""
    try:
        codecs.lookup(encoding)
        b"a".decode(encoding)
    except (LookupError, UnicodeError, ValueError):
        raise UserError(f"{key}: there is no text encoding {encoding!r}; try gbk, shift_jis or cp1252") from None
    return encoding.lower()
