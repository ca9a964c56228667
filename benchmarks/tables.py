"""Write the reports again from the numbers in results/, or check that they are what the numbers say.

--check compares texts. It notices a picture that is missing, and not one that is drawn differently: that depends on
fonts and on matplotlib's version.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.evaluation.tables import plural
from decant.reporting.figures import render_figures
from decant.reporting.report import (
    REPORT,
    stale_reports,
    study_folders,
    write_readme,
    write_report,
    write_root_report,
)
from decant.stages.support.command import run
from decant.study import ROOT


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/tables.py --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where results is (default: results/)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 2 if a report is stale")
    given = parser.parse_args(arguments)
    results = given.results.resolve()
    folders = study_folders(results)
    if given.check:
        if stale := stale_reports(results):
            raise UserError(f"stale: {', '.join(map(str, stale))}; run python benchmarks/tables.py")
        studies = plural(len(folders), "study", "studies")
        print(f"REPORT.md, README.md and the reports of {studies} say what the numbers say")
        return
    for folder in folders:
        render_figures(folder)
        write_report(folder, folder / REPORT)
        print(folder / REPORT)
    root_report, readme = results.parent / REPORT, results.parent / "README.md"
    write_root_report(results, root_report)
    print(root_report)
    if readme.is_file():
        write_readme(readme, results)
        print(readme)


if __name__ == "__main__":
    run(main)
