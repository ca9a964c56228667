"""Gather a study's results into results/<study>: tables, figures, submissions, provenance, REPORT.md."""

from collections.abc import Sequence

from decant.reporting.report import headline
from decant.stages.publish import publish
from decant.stages.support.command import experiment_of, parser, run
from decant.study_files import study_files
from decant.workspace import LATEST, followed


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python benchmarks/report.py --study demo").parse_args(arguments)
    experiment = experiment_of(given)
    folder = publish(experiment, study_files(given.study))
    print(f"ONNX file: {followed(experiment.workspace.folder / 'export' / LATEST / 'student.onnx')}")
    print(f"tables:    {folder / 'benchmarks'}")
    print(f"report:    {folder / 'REPORT.md'}")
    print(headline(folder))


if __name__ == "__main__":
    run(main)
