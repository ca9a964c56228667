"""The time to make a study's report as a page, a PDF and slides from its results, in a process of its own.

It writes documents.csv, a row per study. Columns: study, rounds, wall_s (from the start of benchmarks/report.py to its
end, median over the rounds), slowest_s (the slowest round), html_mb, pdf_mb, slides_mb (10⁶ bytes).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.document_time import DOCUMENT_COLUMNS, document_row
from decant.errors import UserError
from decant.evaluation.tables import write_results_table
from decant.reporting.root_report import study_folders
from decant.stages.support.command import at_least_one, run
from decant.stages.support.provenance import record_measurement
from decant.study_files import ROOT


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/documents.py --rounds 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=at_least_one, default=3, help="per study (default: 3)")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results", help="folder with the studies' results (default: results)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "serving", help="folder for the table (default: results/serving)"
    )
    given = parser.parse_args(arguments)
    rows = [document_row(folder, given.rounds) for folder in study_folders(given.results)]
    if not rows:
        raise UserError(f"{given.results} contains no study; give another folder to --results")
    write_results_table(rows, given.out / "documents.csv", DOCUMENT_COLUMNS)
    record_measurement(given.out, ["documents.csv"], {"name": "", "digest": ""})
    for row in rows:
        print("{study}: {wall_s:.1f} s".format(**row))
    print(f"table: {given.out / 'documents.csv'}")


if __name__ == "__main__":
    run(main)
