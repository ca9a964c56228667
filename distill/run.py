"""The whole chain of a study, from photos to a verified ONNX file, its tables and its report.

It calls the other scripts in order. Finished, unchanged stages are kept; interrupted ones are continued.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from decant.stages import SCRIPTS
from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.plan import plan, plan_lines

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(__doc__, "python distill/run.py --study vehicle_dataset --plan")
    options.add_argument("--plan", action="store_true", help="print which stages are finished and which would run")
    given = options.parse_args(words)
    if given.plan:
        print("\n".join(plan_lines(plan(experiment_of(given)))))
        return
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
