"""The section on the app, from the tables in `results/serving/`, which belong to no study."""

from collections.abc import Sequence
from pathlib import Path

from decant.evaluation.markdown import section
from decant.evaluation.tables import short
from decant.reporting.exported_file import measured_lines
from decant.reporting.results_files import Row


def serving_section(folder: Path, base: Path) -> str:
    """One line per table in `folder` with its link and origin; "" if there is no table. Links start at `base`."""
    lines = measured_lines(folder, base, {"load.csv": _load, "hostile.csv": _hostile})
    return section("The app", "\n".join(f"- {line}" for line in lines.values()))


def _load(rows: Sequence[Row]) -> str:
    (row,) = rows
    return (
        f"The app predicts {row['requests_per_second']} images per second over {row['connections']} connections, "
        f"{short(row['to_bare'], 2)} times as many as a bare loop of decoding and predicting, with "
        f"{row['errors']} errors in {row['seconds']} s. The median time per request is {row['p50_ms']} ms, the 99th "
        f"percentile {row['p99_ms']} ms. The first prediction comes {row['first_answer_s']} s after the start:"
    )


def _hostile(rows: Sequence[Row]) -> str:
    everything = next(row for row in rows if row["kind"] == "all")
    return (
        f"Of {everything['requests']} hostile requests the app refuses {everything['refused']} with a reason, answers "
        f"{everything['answered']} correctly and fails at {everything['failed']}. It uses at most "
        f"{everything['peak_rss_mb']} MB of memory:"
    )
