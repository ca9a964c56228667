"""Target onnx: the exported files themselves, in a folder of the user's choice."""

from collections.abc import Sequence
from pathlib import Path

from decant.export.examples import EXAMPLES
from decant.export.target_folder import write_target

BESIDE = ("classes.txt", "preprocessing.json", "MODEL_CARD.md")


def write_onnx_folder(exported: Sequence[Path], folder: Path) -> None:
    """Copy exported files, each with its bare graph, what lies beside the first of them, and the examples.

    exported: `student.onnx` of decant's, and further files that stand in for it.
    """
    graphs = [path for file in exported for path in (file.with_name(f"{file.stem}_bare.onnx"), file)]
    files = {path.name: path.read_bytes() for path in graphs}
    beside = {name: exported[0].with_name(name).read_bytes() for name in BESIDE}
    write_target(folder, "onnx", {**{name: text.encode() for name, text in EXAMPLES.items()}, **beside, **files})
