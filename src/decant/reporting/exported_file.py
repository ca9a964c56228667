"""The section on the exported file, from the tables in `results/export/`, which belong to no study."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from decant.evaluation.markdown import link, markdown_table, section
from decant.evaluation.tables import number, plural, read_results_table, short
from decant.reporting.results_files import Row, read_object
from decant.timing.quoted import quoted_threads

FORMAT_HEADER = {
    "format": "format",
    "file_mb": "file MB",
    "val_accuracy": "val accuracy",
    "as_fp32": "agreement with fp32",
    "p50_ms": "p50 ms",
    "times_as_fast": "times as fast",
}


def exported_file_section(folder: Path, base: Path) -> str:
    """One line per table in `folder` with its link and origin, then the number formats; "" if there is no table.

    Links are relative to the folder `base`.
    """
    lines = measured_lines(folder, base, SENTENCES)
    formats = lines.pop("formats.csv", "")
    profile = link(folder / "format_profile.csv", base)
    return section(
        "The exported file",
        "\n".join(f"- {line}" for line in lines.values()),
        formats,
        _formats_table(read_results_table(folder / "formats.csv")) if formats else "",
        f"Time per operator: [{profile}]({profile})." if (folder / "format_profile.csv").is_file() else "",
    )


def measured_lines(folder: Path, base: Path, sentences: Mapping[str, Callable[[Sequence[Row]], str]]) -> dict[str, str]:
    """Name of each table that is in `folder` -> its sentence, a link to it, and where it was measured."""
    origins = read_object(folder / "provenance.json")
    lines = {}
    for name, sentence in sentences.items():
        if rows := read_results_table(folder / name):
            path = link(folder / name, base)
            lines[name] = f"{sentence(rows)} [{path}]({path}).{_origin(origins.get(name, {}))}"
    return lines


def _origin(entry: Mapping[str, Any]) -> str:
    """The machine and code of a table, and its model if there is one; "" if they were not recorded."""
    if not entry:
        return ""
    machine, model = entry["machine"], entry["model"]
    digest = f" (`{model['digest']}`)" if model["digest"] else ""
    measured = f"{machine['processor']} with {plural(machine['cores'], 'core')}"
    named = f" Model: {model['name']}{digest}." if model["name"] else ""
    return f" Measured on {measured}, at commit `{entry['commit'] or 'unknown'}`.{named}"


def _preprocessing(rows: Sequence[Row]) -> str:
    photos = len({(row["height_px"], row["width_px"]) for row in rows})
    return (
        f"The file takes {_range(rows, 'full_to_apart')} times as long as its bare graph with the fastest exact "
        f"preprocessing outside, and {_range(rows, 'cpu_full_to_apart')} times as much CPU time "
        f"({plural(photos, 'photo')}, threads: {', '.join(sorted({row['threads'] for row in rows}))}):"
    )


def _fidelity(rows: Sequence[Row]) -> str:
    cells = [row[column] for row in rows for column in ("border_grey_levels", "inner_grey_levels")]
    images = sum(int(row["images"]) for row in rows)
    return (
        f"The file's preprocessing differs from the evaluation transform by at most "
        f"{short(max(cells, key=number), 4)} of 255 grey levels on {plural(images, 'image')}:"
    )


def _cold_start(rows: Sequence[Row]) -> str:
    (row,) = rows
    return (
        f"A new process gives its first prediction after {row['total_s']} s, imports included ({row['total_low_s']} to "
        f"{row['total_high_s']} s in {plural(int(row['processes']), 'process', 'processes')}):"
    )


def _export_time(rows: Sequence[Row]) -> str:
    (row,) = rows
    failed = "" if row["passed"] == "true" else "; verification **failed**"
    return (
        f"Export takes {row['export_s']} s and verification on {plural(int(row['images']), 'image')} takes "
        f"{row['verify_s']} s, in total {row['total_s']} s{failed}:"
    )


def _predict(rows: Sequence[Row]) -> str:
    threads = ", ".join(sorted({row["threads"] for row in rows}))
    return (
        f"`distill/predict.py` predicts {_range(rows, 'to_bare')} times as many images per second as a bare loop of "
        f"decoding and predicting (threads: {threads}):"
    )


def _formats(rows: Sequence[Row]) -> str:
    threads = plural(quoted_threads({int(row["threads"]) for row in rows}), "thread")
    return f"The student of {rows[0]['study']} in several number formats, one image per call on {threads}:"


def _formats_table(rows: Sequence[Row]) -> str:
    threads = str(quoted_threads({int(row["threads"]) for row in rows}))
    rounded = ("file_mb", "p50_ms")  # to 3 digits, in the CSV
    return markdown_table(
        list(FORMAT_HEADER.values()),
        [
            [row["format"], *(row[name] if name in rounded else short(row[name]) for name in list(FORMAT_HEADER)[1:])]
            for row in rows
            if row["threads"] == threads
        ],
    )


def _range(rows: Sequence[Row], column: str) -> str:
    """ "0.980 to 1.049": the smallest and the largest value of a column."""
    cells = [row[column] for row in rows]
    return f"{short(min(cells, key=number))} to {short(max(cells, key=number))}"


SENTENCES = {
    "preprocessing.csv": _preprocessing,
    "fidelity.csv": _fidelity,
    "cold_start.csv": _cold_start,
    "export_time.csv": _export_time,
    "predict.csv": _predict,
    "formats.csv": _formats,
}
