"""The one place that formats numbers: CSV cells for files, short texts for people.

A report shows the digits of the CSV; it never formats a value a second time.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from decant.errors import UserError
from decant.workspace import replacing

SIGNIFICANT_SUFFIXES = ("_ms", "_s", "_mb", "_per_second", "_millions", "gmacs")
RATE_DIGITS = 4
SIGNIFICANT_DIGITS = 3


def cell(column: str, value: object) -> str:
    """The CSV text of a value: plain decimal, never an exponent.

    Rates and dimensionless values have 4 decimals; columns whose name ends in a unit (`_ms`, `_s`, `_mb`,
    `_per_second`, `_millions`, `gmacs`) have 3 significant digits. None and NaN are empty cells.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "true" if value else "false"
    if isinstance(value, int) or hasattr(value, "__index__"):
        return str(value)
    number = float(value)  # type: ignore[arg-type]  # float() accepts numpy's scalars
    if math.isnan(number):
        return ""
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    if column.endswith(SIGNIFICANT_SUFFIXES):
        return significant(number)
    return _without_negative_zero(f"{number:.{RATE_DIGITS}f}")


def significant(number: float, digits: int = SIGNIFICANT_DIGITS) -> str:
    """`number` rounded to that many significant digits, in plain decimal: 0.01234 → 0.0123, 1234 → 1230."""
    if number == 0:
        return "0"
    rounded = Decimal(f"{number:.{digits - 1}e}")  # e-notation rounds first: 9.999 becomes 10.0, not 10.00
    places = max(0, digits - 1 - rounded.adjusted())
    return f"{rounded:.{places}f}"


def _without_negative_zero(text: str) -> str:
    return text.lstrip("-") if float(text) == 0 else text


def write_results_table(rows: Sequence[Mapping[str, object]], path: Path, columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV in the given order, with `columns` or, without them, the columns of the first row.

    The file is replaced atomically. The same rows give the same bytes.

    Raises:
        ValueError: rows have different columns, or there are neither rows nor columns.
    """
    if columns is None:
        if not rows:
            raise ValueError(f"{path}: a table without rows needs column names")
        columns = list(rows[0])
    for number, row in enumerate(rows):
        if set(row) != set(columns):
            difference = sorted(set(row) ^ set(columns))
            raise ValueError(f"{path}: row {number} does not have the table's columns; the difference is {difference}")
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([cell(column, row[column]) for column in columns] for row in rows)


def read_results_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as text; [] if the file does not exist.

    Raises:
        UserError: a row has more or fewer cells than the header.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, restkey="", restval="\0")
        rows = list(reader)
    for row in rows:
        if "" in row or "\0" in row.values():
            raise UserError(f"{path}: a row has more or fewer cells than the header; write the table again")
    return rows


def merged(
    earlier: Sequence[Mapping[str, object]], rows: Sequence[Mapping[str, object]], keys: Sequence[str]
) -> list[Mapping[str, object]]:
    """The rows of an earlier table, each replaced by a row of `rows` whose cells in the columns `keys` are the same."""
    return list({tuple(str(row[key]) for key in keys): row for row in [*earlier, *rows]}.values())


def number(text: str | None) -> float:
    """The value of a cell; NaN if it is empty or missing."""
    return float(text) if text else math.nan


def rounded(column: str, value: float) -> float:
    """The value as a cell of that column contains it: with the column's digits."""
    return number(cell(column, value))


def short(text: str | None, digits: int = 3) -> str:
    """A cell rounded to `digits` decimals for people, halves away from zero; "–" if empty."""
    if not text or not math.isfinite(float(text)):
        return text or "–"
    return str(Decimal(text).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP))


def with_interval(row: Mapping[str, str], column: str) -> str:
    """ "0.942 (0.912–0.965)": a rate and its 95 % interval, if the row has one."""
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    value = short(row.get(column))
    return f"{value} ({short(low)}–{short(high)})" if low and high else value


def difference(row: Mapping[str, str], column: str) -> str:
    """ "+0.012 (+0.003 to +0.021)": a difference and its 95 % interval, if the row has one; "–" if it is empty."""
    value, low, high = (_signed(row.get(f"{column}{end}")) for end in ("", "_low", "_high"))
    return value if "–" in (low, high) else f"{value} ({low} to {high})"


def _signed(text: str | None) -> str:
    """`short` with a sign."""
    number_text = short(text)
    return number_text if number_text[0] in "-–" else f"+{number_text}"


def ratio(numerator: str, denominator: str) -> str:
    """The quotient of two cells with one decimal: "14.4" and "3.20" give "4.5"."""
    return f"{number(numerator) / number(denominator):.1f}"


def points(low: str | None, high: str | None) -> str:
    """The difference of two shares in percentage points with one decimal: "0.9562" and "0.9781" give "2.2"."""
    return f"{100 * (number(high) - number(low)):.1f}"


def percent(share: float) -> str:
    """A share as a percentage with one decimal: 0.9562 gives "95.6 %"."""
    return f"{100 * share:.1f} %"


def probability(value: float) -> str:
    """A probability with 6 decimals, for files that programs read: 0.95 gives "0.950000"."""
    return f"{value:.6f}"


def magnitude(value: float) -> str:
    """A number in exponent notation with two digits: 0.0000084 gives "8.4e-06"."""
    return f"{value:.1e}"


def minutes(seconds: float) -> str:
    """Seconds as minutes with one decimal: 90 gives "1.5"."""
    return f"{seconds / 60:.1f}"


def thousands(count: int) -> str:
    """An integer with a comma between thousands: 12345 gives "12,345"."""
    return f"{count:,}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count with its noun: "1 image", "1,234 images"."""
    return f"{thousands(count)} {noun if count == 1 else nouns or noun + 's'}"


def joined(texts: Sequence[str]) -> str:
    """Texts as a list in a sentence: "a", "a and b", "a, b and c"."""
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def is_number(value: object) -> bool:
    """True for a number read from JSON, False for a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)
