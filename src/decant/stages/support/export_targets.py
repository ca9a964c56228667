"""The exported student in the formats that other software loads: one folder per target."""

from collections.abc import Sequence
from pathlib import Path

from decant.export.targets import TARGETS, ExportedStudent
from decant.stages.int8 import FILE as INT8_FILE
from decant.stages.int8 import is_offered
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import stage_result


def write_targets(
    experiment: Experiment, targets: Sequence[str], out: Path | None = None, web_runtime: Path | None = None
) -> dict[str, Path]:
    """Write each target of TARGETS; return target -> folder. The student is exported first if it is not yet.

    out: the folder to write to, with several targets a sub-folder of it for each; default
    `runs/<study>/targets/<target>/`, and for onnx the export stage's own folder. Raises UserError for a folder that
    contains something else and for a student that a target cannot hold. web_runtime: see ExportedStudent.
    """
    exported = stage_result(experiment, "export").folder / "student.onnx"
    student = ExportedStudent(
        files=[exported, *offered_int8(experiment)],
        checkpoint=stage_result(experiment, "shipped").folder,
        name=experiment.study.name,
        web_runtime=web_runtime,
    )
    folders: dict[str, Path] = {}
    for target in dict.fromkeys(targets):
        if target == "onnx" and out is None:
            folders[target] = exported.parent
        else:
            folder = target_folder(experiment, target, out, several=len(set(targets)) > 1)
            folders[target] = TARGETS[target](student, folder)
    return folders


def offered_int8(experiment: Experiment) -> list[Path]:
    """The int8 file, if the study asks for one and it is offered."""
    if not experiment.study.export.int8:
        return []
    folder = stage_result(experiment, "int8").folder
    return [folder / INT8_FILE] if is_offered(folder) else []


def target_folder(experiment: Experiment, target: str, out: Path | None, several: bool) -> Path:
    """The folder of one target."""
    if out is None:
        return experiment.workspace.folder / "targets" / target
    return out / target if several else out
