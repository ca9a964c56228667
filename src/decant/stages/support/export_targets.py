"""The exported student in the shapes that other people's software loads: one folder a target."""

from collections.abc import Sequence
from pathlib import Path

from decant.export.targets.onnx import write_onnx_folder
from decant.export.targets.timm import write_timm_folder
from decant.export.targets.transformersjs import write_transformersjs_folder
from decant.export.targets.triton import write_triton_folder
from decant.models.checkpoint import load_checkpoint
from decant.stages.export import export
from decant.stages.int8 import FILE as INT8_FILE
from decant.stages.int8 import int8, is_offered
from decant.stages.student import student
from decant.stages.support.experiment import Experiment

TARGETS = ("onnx", "timm", "transformersjs", "triton")


def write_targets(experiment: Experiment, targets: Sequence[str], out: Path | None = None) -> dict[str, Path]:
    """Write each target of TARGETS, exporting first where that is not done; return target -> where it lies.

    out: the folder to write to, with several targets a sub-folder of it for each; default
    `runs/<study>/targets/<target>/`, and for onnx the export stage's own folder. Raises UserError for a folder
    that holds something else and for a student that a target cannot hold.
    """
    exported = export(experiment).folder / "student.onnx"
    places: dict[str, Path] = {}
    for target in dict.fromkeys(targets):
        folder = place_of(experiment, target, out, several=len(set(targets)) > 1)
        if target == "timm":
            write_timm_folder(load_checkpoint(student(experiment).folder), folder)
        elif target == "transformersjs":
            write_transformersjs_folder(exported, folder)
        elif target == "triton":
            folder = write_triton_folder(exported, folder, experiment.study.name)
        elif out is None:
            folder = exported.parent
        else:
            write_onnx_folder([exported, *offered_int8(experiment)], folder)
        places[target] = folder
    return places


def offered_int8(experiment: Experiment) -> list[Path]:
    """The int8 file where the study asks for one and it is worth having."""
    if not experiment.study.export.int8:
        return []
    made = int8(experiment)
    return [made.folder / INT8_FILE] if is_offered(made) else []


def place_of(experiment: Experiment, target: str, out: Path | None, several: bool) -> Path:
    """The folder of one target."""
    if out is None:
        return experiment.workspace.folder / "targets" / target
    return out / target if several else out
