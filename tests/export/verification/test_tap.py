"""The prepared image as an additional output of the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from decant.export.interface import LOGITS, PREPARED
from decant.export.runtime import BrokenFile, open_session, run
from decant.export.verification.tap import tapped

Images = list[tuple[str, np.ndarray]]


def test_the_bare_network_gives_the_files_logits_for_the_tapped_tensor(exported: Path, images: Images) -> None:
    tap = open_session(tapped((exported / "student.onnx").read_bytes()), threads=1)
    bare = open_session(exported / "student_bare.onnx", threads=1)
    for _, image in images[:3]:
        prepared, logits = run(tap, {"images": image[None]}, [PREPARED, LOGITS])
        np.testing.assert_allclose(run(bare, {"pixels": prepared}, [LOGITS])[0], logits, atol=1e-5)


def test_tapping_adds_one_output_and_changes_nothing_else(exported: Path) -> None:
    data = (exported / "student.onnx").read_bytes()
    before, after = onnx.load_from_string(data), onnx.load_from_string(tapped(data))
    added = after.graph.output.pop()
    assert (added.name, added.type.tensor_type.elem_type) == (PREPARED, onnx.TensorProto.FLOAT)
    assert after == before


def test_a_file_without_the_prepared_tensor_is_broken(
    folder: Path, edit: Callable[[Path, Callable[[onnx.ModelProto], None]], None]
) -> None:
    def rename(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["other" if name == PREPARED else name for name in names]

    edit(folder / "student.onnx", rename)
    with pytest.raises(BrokenFile):
        open_session(tapped((folder / "student.onnx").read_bytes()))
