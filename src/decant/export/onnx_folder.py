"""Target onnx: the exported files themselves, in a folder of the user's choice."""

from pathlib import Path

from decant.export.examples import EXAMPLES
from decant.export.target_folder import write_target

FILES = ("student_bare.onnx", "classes.txt", "preprocessing.json", "student.onnx")


def write_onnx_folder(exported: Path, folder: Path) -> None:
    """Copy the files of an export and write the examples beside them. exported: a `student.onnx` of decant's."""
    files = {name: exported.with_name(name).read_bytes() for name in FILES}
    write_target(folder, "onnx", {**{name: text.encode() for name, text in EXAMPLES.items()}, **files})
