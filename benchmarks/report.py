"""Gather a study's results below runs/<study>/results: tables, figures, submissions, provenance, REPORT.md."""

from collections.abc import Sequence

from decant.reporting.report import headline
from decant.stages.publish import MISTAKES, gather, publish
from decant.stages.support.command import PUBLISH_HELP, experiment_of, parser, run
from decant.study_files import study_files
from decant.workspace import LATEST, followed


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python benchmarks/report.py --study demo --publish")
    options.add_argument("--publish", action="store_true", help=PUBLISH_HELP)
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    folder = (publish if given.publish else gather)(experiment, study_files(given.study))
    print(f"ONNX file: {followed(experiment.workspace.folder / 'export' / LATEST / 'student.onnx')}")
    print(f"tables:    {folder / 'benchmarks'}")
    print(f"report:    {folder / 'REPORT.md'}")
    print(f"mistakes:  {experiment.workspace.folder / 'results' / MISTAKES}")
    print(headline(folder))


if __name__ == "__main__":
    run(main)
