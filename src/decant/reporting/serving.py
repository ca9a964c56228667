"""The section on the app and the documents, from the tables in `results/serving/`, which belong to no study."""

from collections.abc import Sequence
from pathlib import Path

from decant.evaluation.markdown import section
from decant.evaluation.tables import plural, short
from decant.reporting.exported_file import measured_lines
from decant.reporting.results_files import Row


def serving_section(folder: Path, base: Path) -> str:
    """One line per table in `folder` with its link and origin; "" if there is no table. Links start at `base`."""
    sentences = {"load.csv": _load, "hostile.csv": _hostile, "documents.csv": _documents}
    lines = measured_lines(folder, base, sentences)
    return section("The app and the documents", "\n".join(f"- {line}" for line in lines.values()))


def _load(rows: Sequence[Row]) -> str:
    (row,) = rows
    return (
        f"The app predicts {row['requests_per_second']} images per second over {row['connections']} connections, "
        f"{short(row['to_bare'], 2)} times as many as a bare loop of decoding and predicting, with "
        f"{row['errors']} errors in {row['seconds']} s. The median time per request is {row['p50_ms']} ms, the 99th "
        f"percentile {row['p99_ms']} ms. The first prediction comes {row['first_answer_s']} s after the start"
        f"{_map(row)}:"
    )


def _map(row: Row) -> str:
    """What an activation map costs; "" in tables of an older version and for a file without maps."""
    cost = row.get("map_to_answer")
    return f", and an activation map takes {short(cost, 2)} times as long as a prediction" if cost else ""


def _hostile(rows: Sequence[Row]) -> str:
    everything = next(row for row in rows if row["kind"] == "all")
    return (
        f"Of {everything['requests']} hostile requests the app refuses {everything['refused']} with a reason, answers "
        f"{everything['answered']} correctly and fails at {everything['failed']}. It uses at most "
        f"{everything['peak_rss_mb']} MB of memory:"
    )


def _documents(rows: Sequence[Row]) -> str:
    times = sorted((row["wall_s"] for row in rows), key=float)
    return (
        f"A study's report as a page, a PDF and slides takes {times[0]} to {times[-1]} s "
        f"({plural(len(rows), 'study', 'studies')}):"
    )
