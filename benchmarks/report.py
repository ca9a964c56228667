"""Gather a study's results below runs/<study>/results: tables, figures, pictures, submissions, reports, provenance.

report.html is written beside REPORT.md; --pdf and --slides make report.pdf and slides.pptx too. --bundle OUT copies all
that a study hands in into one folder, with a README. --from-results FOLDER needs no run: it makes the documents from a
folder of results alone.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.reporting.documents import write_documents
from decant.reporting.report import headline
from decant.stages.publish import MISTAKES, gather, publish
from decant.stages.support.bundle import write_bundle
from decant.stages.support.command import PUBLISH_HELP, experiment_of, parser, run
from decant.study_files import study_files
from decant.workspace import LATEST, followed


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python benchmarks/report.py --study demo --pdf --slides")
    options.add_argument("--publish", action="store_true", help=PUBLISH_HELP)
    options.add_argument("--pdf", action="store_true", help="write report.pdf too")
    options.add_argument("--slides", action="store_true", help="write slides.pptx too")
    options.add_argument("--bundle", type=Path, metavar="OUT", help="write all that is handed in into this folder")
    options.add_argument(
        "--from-results", type=Path, metavar="FOLDER", help="make the documents from results/STUDY; no run is needed"
    )
    given = options.parse_args(arguments)
    if given.from_results is not None:
        if given.publish or given.bundle:
            options.error("--from-results makes report.html, report.pdf and slides.pptx alone")
        folder = given.from_results.resolve()
        for path in write_documents(folder, given.runs / folder.name / "results", given.pdf, given.slides):
            print(path)
        print(headline(folder))
        return
    experiment = experiment_of(given)
    if not experiment.workspace.folder.is_dir():
        raise UserError(
            f"the study {experiment.study.name} has not been run here: python distill/run.py --study "
            f"{shlex.quote(given.study)} runs it; --study names another one, or its file"
        )
    folder = (publish if given.publish else gather)(experiment, study_files(given.study))
    gathered = experiment.workspace.folder / "results"
    everything = given.bundle is not None
    documents = write_documents(gathered, gathered, given.pdf or everything, given.slides or everything)
    if everything:
        files = write_bundle(experiment, gathered, gathered, given.bundle)
        print(f"bundle:    {given.bundle / 'README.md'} and {len(files) - 1} files beside it")
    print(f"documents: {', '.join(map(str, documents))}")
    print(f"ONNX file: {followed(experiment.workspace.folder / 'export' / LATEST / 'student.onnx')}")
    print(f"tables:    {folder / 'benchmarks'}")
    print(f"report:    {folder / 'REPORT.md'}")
    print(f"mistakes:  {gathered / MISTAKES}")
    if not everything:
        print(f"to hand in: decant report --study {shlex.quote(given.study)} --bundle FOLDER")
    print(headline(folder))


if __name__ == "__main__":
    run(main)
