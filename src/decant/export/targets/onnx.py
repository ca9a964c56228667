"""Target onnx: copies of the exported files in a folder of the user's choice."""

from collections.abc import Sequence
from pathlib import Path

from decant.export.examples import EXAMPLES
from decant.export.targets.folder import write_target

CARD = "MODEL_CARD.md"
BESIDE = ("classes.txt", "preprocessing.json", "accept.json", CARD)


def write_onnx_folder(exported: Sequence[Path], folder: Path) -> None:
    """Copy exported files with their bare graphs and model cards, the files beside the first one, and the examples.

    exported: `student.onnx`, then files that can replace it, each in a folder of its own. Each has its own scores and
    therefore its own card: that of `student_int8.onnx` is copied as `MODEL_CARD_int8.md`.
    """
    graphs = [path for file in exported for path in (file.with_name(f"{file.stem}_bare.onnx"), file)]
    files = {path.name: path.read_bytes() for path in graphs}
    beside = {name: exported[0].with_name(name).read_bytes() for name in BESIDE}
    cards = {card_name(file): file.with_name(CARD).read_bytes() for file in exported[1:]}
    examples = {name: text.encode() for name, text in EXAMPLES.items()}
    write_target(folder, "onnx", {**examples, **beside, **cards, **files})


def card_name(file: Path) -> str:
    """The name of the copied card: MODEL_CARD_int8.md for student_int8.onnx."""
    return f"MODEL_CARD{file.stem.removeprefix('student')}.md"
