"""Write the reports again from the numbers in results/, or check that they are what the numbers say."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.reporting.figures import render_figures
from decant.reporting.report import REPORT, is_root_stale, is_stale, write_report, write_root_report
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
    root_report = given.results.resolve().parent / REPORT
    folders = sorted(path.parent for path in given.results.resolve().glob("*/study.json"))
    if given.check:
        stale = [folder / REPORT for folder in folders if is_stale(folder, folder / REPORT)]
        if is_root_stale(given.results.resolve(), root_report):
            stale.append(root_report)
        if stale:
            raise UserError(f"stale: {', '.join(map(str, stale))}; run python benchmarks/tables.py")
        print(f"{len(folders) + 1} reports say what their numbers say")
        return
    for folder in folders:
        render_figures(folder)
        write_report(folder, folder / REPORT)
        print(folder / REPORT)
    write_root_report(given.results.resolve(), root_report)
    print(root_report)


if __name__ == "__main__":
    run(main)
