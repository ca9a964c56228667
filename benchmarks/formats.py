"""Compare number formats for a study's student: fp32, fp16 and int8, quantised in several ways."""

from collections.abc import Sequence
from pathlib import Path

from decant.benchmarking.number_formats import measure_formats
from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.provenance import measured_file, record_measurement
from decant.stages.support.resolve import stage_result
from decant.study_files import ROOT

DEFAULT_OUT = ROOT / "results" / "export"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "python benchmarks/formats.py --study traffic_vehicles")
    options.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="folder of the tables (default: results/export)"
    )
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    out = given.out.expanduser().resolve()
    measure_formats(experiment, out)
    file = stage_result(experiment, "export").folder / "student.onnx"
    model = measured_file(file, f"the student of {experiment.study.name}")
    record_measurement(out, ["formats.csv", "format_profile.csv"], model)
    print(f"formats: {out / 'formats.csv'}")


if __name__ == "__main__":
    run(main)
