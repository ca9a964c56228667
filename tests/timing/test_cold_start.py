"""Cold start: the program, its steps and the row of medians. No test asserts a time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from decant.data.images import decode
from decant.errors import UserError
from decant.timing import cold_start
from decant.timing.cold_start import COLD_START_COLUMNS, PROGRAM, STEPS, cold_start_row, first_answer_s


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The path of an ONNX file whose probabilities are the mean colour: uint8 [N, H, W, 3] → [N, 3]."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats"], ["probabilities"], axes=[1, 2], keepdims=0),
        ],
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
    )
    path = tmp_path / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The path of a green photo, which has class 1."""
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 30), (20, 200, 60)).save(path)
    return path


def test_the_program_predicts_the_class_of_an_image_file(model: Path, photo: Path) -> None:
    done = subprocess.run([sys.executable, "-P", PROGRAM, model, photo], capture_output=True, text=True, check=True)
    label, *stamps = done.stdout.split()
    assert label == "1" and len(stamps) == len(STEPS)
    assert (np.diff([float(stamp) for stamp in stamps]) >= 0).all()


def test_the_program_reads_transparent_parts_as_white_like_the_rest(model: Path, tmp_path: Path) -> None:
    """Blue hides in the transparent part: mean colours are (140, 138, 128) with white in its place."""
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2], pixels[2:] = (25, 20, 0, 255), (0, 0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    assert decode((tmp_path / "photo.png").read_bytes()).mean((0, 1)).argmax() == 0
    command = [sys.executable, "-P", PROGRAM, model, tmp_path / "photo.png"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("0 ")


def test_the_program_imports_what_a_users_program_imports_and_nothing_else(model: Path, photo: Path) -> None:
    code = (
        "import runpy, sys; program = sys.argv.pop(1); sys.argv[0] = program\n"
        "runpy.run_path(program, run_name='__main__')\n"
        "heavy = {'torch', 'pandas', 'scipy', 'onnx', 'decant', 'timm', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    command = [sys.executable, "-P", "-c", code, PROGRAM, model, photo]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_step_from_the_start_of_the_process_is_timed(model: Path, photo: Path) -> None:
    seconds = first_answer_s(model, photo)
    assert len(seconds) == len(STEPS) and min(seconds) >= 0 and seconds[0] > 0


def test_a_row_has_medians_and_the_range_of_the_totals(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([9.0, 3.0, 1.0, 2.0])  # the first process fills the system's cache and is not counted
    monkeypatch.setattr(cold_start, "first_answer_s", lambda *_: [next(seconds)] * len(STEPS))
    row = cold_start_row(model, photo, processes=3)
    assert tuple(row) == COLD_START_COLUMNS
    assert (row["processes"], row["session_s"], row["total_s"]) == (3, 2, 2 * len(STEPS))
    assert (row["total_low_s"], row["total_high_s"]) == (len(STEPS), 3 * len(STEPS))


def test_a_broken_file_is_an_error_with_the_engines_message(tmp_path: Path, photo: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"(?s)broken\.onnx.*failed.*(?i:protobuf|parse|model)"):
        first_answer_s(broken, photo)
