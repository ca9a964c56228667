"""Write all reports and docs/flow.svg, or check that they agree with results/ and with the table of stages.

--check compares texts and finds missing figures. It does not compare the pixels of figures, which depend on fonts and
on matplotlib's version.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.evaluation.tables import plural
from decant.reporting.figures import render_figures
from decant.reporting.report import REPORT, write_report
from decant.reporting.root_report import MEASUREMENTS, stale_reports, study_folders, write_readme, write_root_report
from decant.stages import GRAPH, REFIT, reads_in_table
from decant.stages.support.command import run
from decant.stages.support.flow import FlowStage, flow_svg
from decant.study_files import ROOT
from decant.workspace import replacing

FLOW = ROOT / "docs" / "flow.svg"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python benchmarks/tables.py --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of results (default: results/)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with code 2 if a report is stale")
    given = parser.parse_args(arguments)
    results = given.results.resolve()
    folders = study_folders(results)
    if given.check:
        stale = stale_reports(results)
        if results == ROOT / "results" and FLOW.read_text(encoding="utf-8") != flow_text():
            stale.append(FLOW)
        if stale:
            raise UserError(f"stale: {', '.join(map(str, stale))}; run python benchmarks/tables.py")
        studies = plural(len(folders), "study", "studies")
        print(f"REPORT.md, README.md and the reports of {studies} agree with results/")
        return
    for folder in folders:
        render_figures(folder)
        write_report(folder, folder / REPORT)
        print(folder / REPORT)
    if results == ROOT / "results":
        write_flow()
        print(FLOW)
    root_report, readme = results.parent / REPORT, results.parent / "README.md"
    write_root_report(results, root_report)
    print(root_report, results / MEASUREMENTS, sep="\n")
    if readme.is_file():
        write_readme(readme, results)
        print(readme)


def flow_text() -> str:
    """The diagram of the flow as SVG, from the table of stages; without the stages of a refit, which repeat it."""
    stages = [stage for stage in GRAPH if not stage.name.startswith(REFIT)]
    return flow_svg([FlowStage(stage.name, reads_in_table(stage), stage.script) for stage in stages])


def write_flow() -> None:
    with replacing(FLOW) as partial:
        partial.write_text(flow_text(), encoding="utf-8")


if __name__ == "__main__":
    run(main)
