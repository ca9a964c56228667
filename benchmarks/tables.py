"""Write the reports again from the numbers in results/, or check that they are what the numbers say."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.reporting.figures import render_figures
from decant.reporting.report import (
    REPORT,
    is_readme_stale,
    is_root_stale,
    is_stale,
    write_readme,
    write_report,
    write_root_report,
)
from decant.stages.command import run
from decant.study import ROOT


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/tables.py --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where evidence is (default: results/)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 2 if a report is stale")
    given = parser.parse_args(arguments)
    results = given.results.resolve()
    root_report, readme = results.parent / REPORT, results.parent / "README.md"
    folders = sorted(path.parent for path in results.glob("*/study.json"))
    if given.check:
        stale = [folder / REPORT for folder in folders if is_stale(folder, folder / REPORT)]
        if is_root_stale(results, root_report):
            stale.append(root_report)
        if readme.is_file() and is_readme_stale(readme, results):
            stale.append(readme)
        if stale:
            raise UserError(f"stale: {', '.join(map(str, stale))}; run python benchmarks/tables.py")
        print(f"{len(folders)} reports, REPORT.md and README.md say what the numbers say")
        return
    for folder in folders:
        render_figures(folder)
        write_report(folder, folder / REPORT)
        print(folder / REPORT)
    write_root_report(results, root_report)
    print(root_report)
    if readme.is_file():
        write_readme(readme, results)
        print(readme)


if __name__ == "__main__":
    run(main)
