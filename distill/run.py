"""The whole chain of a study, from photos to a verified ONNX file, its tables and its report.

Nothing but the other scripts in order. What is finished and unchanged is kept; what was interrupted goes on.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from decant.stages.support.command import parser, run

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = (
    "research/clean_data.py",
    "research/train_teacher.py",
    "ensembles/combine.py",
    "distill/make_soft_labels.py",
    "distill/train_student.py",
    "distill/export_onnx.py",
    "benchmarks/precision.py",
    "benchmarks/latency.py",
    "benchmarks/report.py",
)


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser(__doc__, "python distill/run.py --study vehicle_dataset").parse_args(words)
    for number, script in enumerate(SCRIPTS, start=1):
        print(f"[{number}/{len(SCRIPTS)}] {script}", flush=True)
        load(ROOT / script).main(words)


def load(path: Path):  # type: ignore[no-untyped-def]
    """The script at `path` as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    run(main)
