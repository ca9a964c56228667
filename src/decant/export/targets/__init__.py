"""Export targets: the student in the format of other software. TARGETS maps a target's name to its writer.

A writer takes the exported student and a folder, and returns the folder that it wrote. What a target needs beyond the
ONNX file (timm, torch) is imported by its writer alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportedStudent:
    """files: ONNX files, `student.onnx` first and files that can replace it, such as int8, after it.

    checkpoint: folder of the student's checkpoint. name: of the model, where a target asks for one.
    """

    files: Sequence[Path]
    checkpoint: Path
    name: str


def write_onnx(student: ExportedStudent, folder: Path) -> Path:
    from decant.export.targets.onnx import write_onnx_folder

    write_onnx_folder(student.files, folder)
    return folder


def write_timm(student: ExportedStudent, folder: Path) -> Path:
    from decant.export.targets.timm import write_timm_folder
    from decant.models.checkpoint import load_checkpoint

    write_timm_folder(load_checkpoint(student.checkpoint), folder)
    return folder


def write_transformersjs(student: ExportedStudent, folder: Path) -> Path:
    from decant.export.targets.transformersjs import write_transformersjs_folder

    write_transformersjs_folder(student.files[0], folder)
    return folder


def write_triton(student: ExportedStudent, folder: Path) -> Path:
    """`folder` is the model repository; the model's own folder inside it is returned."""
    from decant.export.targets.triton import write_triton_folder

    return write_triton_folder(student.files[0], folder, student.name)


TARGETS: Mapping[str, Callable[[ExportedStudent, Path], Path]] = {
    "onnx": write_onnx,
    "timm": write_timm,
    "transformersjs": write_transformersjs,
    "triton": write_triton,
}
