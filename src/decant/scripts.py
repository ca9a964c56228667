"""The scripts of the checkout under the names that the command `decant` gives them."""

import importlib.util
from pathlib import Path
from types import ModuleType

from decant.errors import UserError
from decant.study_files import ROOT

COMMANDS = {  # name -> script, options that the name stands for
    "run": ("distill/run.py",),
    "plan": ("distill/run.py", "--plan"),
    "clean": ("research/clean_data.py",),
    "train": ("research/train_teacher.py",),
    "tune": ("research/tune_teacher.py",),
    "combine": ("ensembles/combine.py",),
    "soft-labels": ("distill/make_soft_labels.py",),
    "distill": ("distill/train_student.py",),
    "export": ("distill/export_onnx.py",),
    "verify": ("distill/verify_onnx.py",),
    "predict": ("distill/predict.py",),
    "serve": ("distill/serve.py",),
    "refit": ("distill/refit.py",),
    "precision": ("benchmarks/precision.py",),
    "latency": ("benchmarks/latency.py",),
    "report": ("benchmarks/report.py",),
    "review": ("research/wandb_report.py",),
}


def script_path(script: str, root: Path = ROOT) -> Path:
    """The script's file. Raises UserError if decant was not installed from a checkout."""
    path = root / script
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: the command needs decant's checkout with its scripts, studies and recipes. Clone "
            "the repository and run pip install -e . in it"
        )
    return path


def script_module(script: str) -> ModuleType:
    """The script as a module."""
    path = script_path(script)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
