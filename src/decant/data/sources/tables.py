"""Tables as people have them: CSV of any separator and code page, as dictionaries of text."""

import csv
import difflib
import io
import logging
import re
from collections.abc import Mapping, Sequence

from decant.data.file_names import decodes, known_encoding
from decant.errors import UserError

log = logging.getLogger(__name__)

DELIMITERS = ",;\t|"
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # byte order marks
NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file (data.source: parquet)",
    b"\x1f\x8b": "compressed by gzip",
}
NOT_ASCII = re.compile(rb"[\x80-\xff]+")


def text_of(content: bytes, where: str, encoding: str = "") -> str:
    """Decode a text file: in `encoding`, else by its byte order mark, else UTF-8, else in a guessed code page.

    encoding: `data.table_encoding`. One line is logged if the code page was guessed. Raises UserError if the file is
    not in `encoding`, or is no text.
    """
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


def decoded_as(content: bytes, where: str, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeError as error:
        raise UserError(f"{where} is not in {encoding} ({error}). Set data.table_encoding.") from None


def guessed_encoding(content: bytes) -> str:
    """The likely code page of a text that is not UTF-8.

    In Western text letters with accents stand alone between ASCII letters. In Chinese, Japanese and Cyrillic text
    they stand in runs; the bytes of frequent characters tell these apart.
    """
    runs = NOT_ASCII.findall(content)
    if sum(len(run) for run in runs if len(run) > 1) * 2 < sum(map(len, runs)):
        alone = "shift_jis" if japanese(content) else "cp1252"
        return alone if decodes(content, alone) else "latin-1"
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
    """The rows of a CSV with a header, separated by comma, semicolon, tab or |; short rows get empty cells.

    Columns without a name are left out. Raises UserError if there is no header, a column name occurs twice, or a row
    is longer than the header.
    """
    text = text_of(content, where, encoding)
    declared = re.match(r"sep=(.)\r?\n", text)  # Excel's way to declare the separator
    text = text[declared.end() :] if declared else text
    delimiter = declared[1] if declared else delimiter_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise UserError(f"{where} is not a CSV file: {error} (line {reader.line_num})") from error
    if not lines or not any(lines[0]):
        raise UserError(f"{where} is empty: its first line must contain the names of the columns")
    columns = lines[0]
    named = [column for column in columns if column]
    if len(set(named)) < len(named):
        raise UserError(f"{where} has a column name twice: {', '.join(named)}. Rename one.")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) > len(columns) and any(line[len(columns) :]):
            raise UserError(f"{where}, row {number}: {len(line)} cells, but the header has {len(columns)}")
        if any(line):
            cells = dict(zip(columns, line + [""] * len(columns), strict=False))
            rows.append({column: cells[column] for column in named})
    return rows


def delimiter_of(text: str) -> str:
    """The separator that divides the header into most cells; separators in quotes do not count."""
    header = text.partition("\n")[0]
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


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
