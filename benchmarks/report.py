"""Gather a study's results into results/<study>: tables, pictures, submissions, provenance, REPORT.md."""

from collections.abc import Sequence

from decant.reporting.report import headline
from decant.stages.publish import publish
from decant.stages.support.command import experiment_of, parser, run
from decant.study import study_files


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python benchmarks/report.py --study demo").parse_args(arguments)
    experiment = experiment_of(given)
    with experiment.workspace.locked():
        folder = publish(experiment, study_files(given.study))
    print(f"ONNX file: {experiment.workspace.folder / 'export' / 'latest' / 'student.onnx'}")
    print(f"tables:    {folder / 'benchmarks'}")
    print(f"report:    {folder / 'REPORT.md'}")
    print(headline(folder))


if __name__ == "__main__":
    run(main)
