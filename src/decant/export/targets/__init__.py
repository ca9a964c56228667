"""Export targets: the student in the format of other software. TARGETS maps a target's name to its writer.

A writer takes the exported student and a folder, and returns the folder that it wrote. It raises UserError for a folder
or file that was not written here. timm and torch are imported only when the target timm is written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportedStudent:
    """The files of a student that targets are made from.

    files: ONNX files: `student.onnx` (fp32) first, then files that can replace it, such as int8. checkpoint: folder of
    the student's checkpoint; only the target timm reads it. name: of the study. web_runtime: the folder `dist` of
    onnxruntime-web, which the target web copies.
    """

    files: Sequence[Path]
    checkpoint: Path
    name: str
    web_runtime: Path | None = None


def write_onnx(student: ExportedStudent, folder: Path) -> Path:
    """Copies of all files, with their model cards and example programs."""
    from decant.export.targets.onnx import write_onnx_folder

    write_onnx_folder(student.files, folder)
    return folder


def write_timm(student: ExportedStudent, folder: Path) -> Path:
    """The checkpoint as a timm model. Raises UserError for a student that timm cannot build."""
    from decant.export.targets.timm import write_timm_folder
    from decant.models.checkpoint import load_checkpoint

    write_timm_folder(load_checkpoint(student.checkpoint), folder)
    return folder


def write_transformersjs(student: ExportedStudent, folder: Path) -> Path:
    """The first file, for transformers.js."""
    from decant.export.targets.transformersjs import write_transformersjs_folder

    write_transformersjs_folder(student.files[0], folder)
    return folder


def write_triton(student: ExportedStudent, folder: Path) -> Path:
    """The first file, for Triton. `folder` is the model repository; returned is the model's folder inside it."""
    from decant.export.targets.triton import write_triton_folder

    return write_triton_folder(student.files[0], folder, student.name)


def write_web(student: ExportedStudent, folder: Path) -> Path:
    """The first file with a page that runs it in a browser. Raises UserError without onnxruntime-web."""
    from decant.export.targets.web import write_web_folder

    write_web_folder(student.files[0], folder, student.web_runtime)
    return folder


TARGETS: Mapping[str, Callable[[ExportedStudent, Path], Path]] = {
    "onnx": write_onnx,
    "timm": write_timm,
    "transformersjs": write_transformersjs,
    "triton": write_triton,
    "web": write_web,
}
