"""Tables as people have them: CSV of any separator and code page, or Parquet, as dictionaries of text."""

import csv
import difflib
import gzip
import io
import logging
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from decant.data.file_names import decodes, known_encoding
from decant.errors import UserError

log = logging.getLogger(__name__)

DELIMITERS = ",;\t|"
LARGEST_TABLE = 1 << 28  # bytes, unpacked
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"  # first bytes
MARKS = {  # byte order marks; that of UTF-32 begins like that of UTF-16
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
END = "end"  # a last line, to find a quotation mark that is never closed
NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    PARQUET: "a Parquet file",
}
NOT_ASCII = re.compile(rb"[\x80-\xff]+")


def text_of(content: bytes, where: str, encoding: str = "") -> str:
    """Decode a text file: in `encoding`, else by its byte order mark, else UTF-8, else in a guessed code page.

    encoding: `data.table_encoding`. A file compressed by gzip is unpacked. One line is logged if the code page was
    guessed. Raises UserError if the file is not in `encoding`, or is no text.
    """
    content = unpacked(content, where) if content.startswith(GZIP) else content
    kind = next((kind for start, kind in NOT_TEXT.items() if content.startswith(start)), "")
    if kind:
        raise UserError(f"{where} is {kind}, not a text file. Save it as CSV (UTF-8) and name that file in the study.")
    if encoding:
        return decoded_as(content, where, known_encoding(encoding, "data.table_encoding"))
    marked = next((name for mark, name in MARKS.items() if content.startswith(mark)), "")
    if not marked and content[:400].count(0) > len(content[:400]) // 4:
        marked = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    if marked or decodes(content, "utf-8"):
        return decoded_as(content, where, marked or "utf-8")
    guess = guessed_encoding(content)
    text = content.decode(guess, "replace") if guess != "latin-1" else content.decode(guess)
    example = next(line.strip() for line in text.splitlines() if not line.isascii())
    log.warning(
        "%s is not UTF-8 and was read as %s (%s, for example). If that is wrong, set data.table_encoding",
        where, guess, example[:60],
    )  # fmt: skip
    return text


def unpacked(content: bytes, where: str) -> bytes:
    """The bytes of a file compressed by gzip. Raises UserError if it is damaged or larger than LARGEST_TABLE."""
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(LARGEST_TABLE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where} is damaged or no file of gzip ({error}). Fetch it again.") from None
    if len(unpacked) > LARGEST_TABLE:
        raise UserError(f"{where} unpacks to more than {LARGEST_TABLE >> 20} MiB. Leave columns out, or unpack it.")
    return unpacked


def decoded_as(content: bytes, where: str, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeError as error:
        raise UserError(f"{where} is not in {encoding} ({error}). Set data.table_encoding.") from None


def guessed_encoding(content: bytes) -> str:
    """The likely code page of a text that is not UTF-8.

    In Western text letters with accents stand alone between ASCII letters. In Chinese, Japanese and Cyrillic text
    they stand in runs; the bytes of frequent characters distinguish these.
    """
    runs = NOT_ASCII.findall(content)
    if sum(len(run) for run in runs if len(run) > 1) * 2 < sum(map(len, runs)):
        guess = "shift_jis" if japanese(content) else "cp1252"
        return guess if decodes(content, guess) else "latin-1"
    lower = sum(byte >= 0xE0 for run in runs for byte in run)
    if lower * 2 > sum(map(len, runs)) and decodes(content, "cp1251"):
        return "cp1251"
    order = ("shift_jis", "gbk") if japanese(content) else ("gbk", "cp949", "big5", "shift_jis")
    return next(
        (name for name in order if decodes(content, name)), "cp1252" if decodes(content, "cp1252") else "latin-1"
    )


def japanese(content: bytes) -> bool:
    """True if Shift-JIS decodes the text and half of its foreign characters are kana."""
    if not decodes(content, "shift_jis"):
        return False
    foreign = [letter for letter in content.decode("shift_jis") if not letter.isascii()]
    return 2 * sum("\u3040" <= letter <= "\u30ff" for letter in foreign) >= len(foreign) > 0


def read_table(content: bytes, where: str, encoding: str = "") -> list[dict[str, str]]:
    """The rows of a table with a header; an empty cell is "".

    A CSV may be separated by comma, semicolon, tab or |, and compressed by gzip; of a Parquet file the columns with one
    text or number per row are read. Columns without a name are left out. Raises UserError if there is no header or no
    row, a column name occurs twice, or a row is longer than the header.
    """
    if content.startswith(PARQUET):
        columns, lines = parquet_lines(content, where)
    else:
        columns, lines = csv_lines(text_of(content, where, encoding), where)
    named = [column for column in columns if column]
    repeated = sorted({column for column in named if named.count(column) > 1})
    if repeated:
        raise UserError(f"{where} has a column name twice: {', '.join(map(repr, repeated))}. Rename one in the table.")
    rows = []
    for line in lines:
        if any(line):
            cells = dict(zip(columns, [*line, *[""] * len(columns)], strict=False))
            rows.append({column: cells[column] for column in named})
    if not rows:
        raise UserError(f"{where} has no row below its header ({', '.join(named)}). Is it the right table?")
    return rows


def csv_lines(text: str, where: str) -> tuple[list[str], Iterator[list[str]]]:
    """The header of a CSV and the lines below it, without spaces around cells; short lines stay short."""
    declared = re.match(r"sep=(.)\r?\n", text)  # Excel's way to declare the separator
    text = text[declared.end() :] if declared else text
    text = text if "\n" in text else text.replace("\r", "\n")  # old Macs
    delimiter = declared[1] if declared else delimiter_of(text)
    reader = csv_reader([*io.StringIO(text, newline=""), END], delimiter)
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise UserError(
            f"{where} is not a CSV file: {error} (line {reader.line_num}). Is a quotation mark not closed above it, or "
            "does a column contain something else than labels? Close it, or leave the column out."
        ) from error
    if lines.pop() != [END]:
        raise UserError(
            f"{where}, row {len(lines) + 1}: a quotation mark is never closed, so that all that follows is one cell. "
            "Close it, or double it if it belongs to the text."
        )
    first = next((number for number, line in enumerate(lines) if any(line)), None)
    if first is None:
        raise UserError(f"{where} is empty: its first line must contain the names of the columns")
    return lines[first], refuse_long(lines, first, where, delimiter)


def refuse_long(lines: Sequence[list[str]], header: int, where: str, delimiter: str) -> Iterator[list[str]]:
    """The lines below the header. Raises UserError, with its row number, for one with more cells than the header."""
    columns = lines[header]
    for number, line in enumerate(lines[header + 1 :], header + 2):
        if len(line) > len(columns) and any(line[len(columns) :]):
            raise UserError(
                f"{where}, row {number}: {len(line)} cells, but the header has {len(columns)} ({', '.join(columns)}). "
                f"Put cells that contain {delimiter!r} in quotation marks; delete lines above the names of the columns."
            )
        yield line


def parquet_lines(content: bytes, where: str) -> tuple[list[str], Iterator[list[str]]]:
    """The columns of a Parquet file that contain one text or number per row, and its rows."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        columns = [
            field.name for field in file.schema_arrow if not (is_binary(field.type) or pa.types.is_nested(field.type))
        ]
        table = file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{where} is not a Parquet file or is damaged ({error}). Fetch it again.") from error
    cells = [[as_label(cell) or "" for cell in column.to_pylist()] for column in table.columns]
    return table.column_names, map(list, zip(*cells, strict=True))


def is_binary(kind: pa.DataType) -> bool:
    """True for columns of bytes of any Arrow type, dictionaries of them included."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def as_label(value: Any) -> str | None:
    """A label of any column type as text; a whole number that pandas stored as a float becomes whole again."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)).strip()


def delimiter_of(text: str) -> str:
    """The separator that divides the header into most cells; separators in quotes do not count."""
    header = text.lstrip("\r\n").partition("\n")[0]
    return max(DELIMITERS, key=lambda delimiter: len(next(csv_reader([header], delimiter), [])))


def csv_reader(lines: Sequence[str], delimiter: str) -> Any:
    """A reader of cells. A quotation mark may follow spaces: 1.png, "red car"."""
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True)


FURTHER = "auxiliary_columns (or data.cluster_column)"  # the keys of columns that are read besides the usual ones


def need_columns(columns: Sequence[str], wanted: Mapping[str, str], where: str) -> None:
    """Raise UserError, with the existing columns, if one is missing. wanted: key of the study -> column."""
    for key, column in wanted.items():
        if column not in columns:
            similar = difflib.get_close_matches(column, columns, n=1, cutoff=0.5)
            hint = f" Did you mean {similar[0]!r}?" if similar else ""
            raise UserError(
                f"{where} has no column {column!r}; it has {', '.join(map(repr, columns)) or 'none'}.{hint} "
                f"Set data.{key} in the study."
            )
