"""Prediction with an exported file, with only NumPy, ONNX Runtime and Pillow installed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from decant.errors import UserError
from decant.export.runtime import OnnxClassifier

ALONE = """
import sys
for absent in ("torch", "onnx", "timm", "pandas"):
    sys.modules[absent] = None  # so that importing it fails
import numpy as np
from pathlib import Path
from decant.export.runtime import OnnxClassifier
from decant.export.verification.verify import verify
path = Path(sys.argv[1])
images = [(str(n), np.random.default_rng(n).integers(0, 256, (40 + n, 70, 3), dtype=np.uint8)) for n in range(4)]
assert OnnxClassifier(path).predict(images[0][1])[0].shape == (5,)
report = verify(path, images)
assert report["passed"] and report["top1_agreement"] == 1, report
assert report["skipped"] == ["structure"], report["skipped"]
"""


def test_prediction_and_verification_need_neither_torch_nor_onnx(exported: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(exported / "student.onnx")],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_predict_batch_equals_predict_of_each_image(exported: Path) -> None:
    classifier = OnnxClassifier(exported / "student.onnx", threads=1)
    batch = np.random.default_rng(0).integers(0, 256, (3, 50, 80, 3), dtype=np.uint8)
    probabilities, logits = classifier.predict_batch(batch)
    for row, image in enumerate(batch):
        single = classifier.predict(image)
        np.testing.assert_allclose(probabilities[row], single[0], atol=1e-6)
        np.testing.assert_allclose(logits[row], single[1], atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_arrays_that_are_not_rgb_images_are_refused(exported: Path, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\[.*H, W, 3\]"):
        OnnxClassifier(exported / "student.onnx", threads=1).predict(image)


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; export the student first"):
        OnnxClassifier(tmp_path / "student.onnx")


def test_a_damaged_file_is_a_user_error(folder: Path) -> None:
    path = folder / "student.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"student\.onnx cannot be loaded"):
        OnnxClassifier(path)


def test_a_file_without_our_metadata_is_a_user_error(
    folder: Path, edit: Callable[[Path, Callable[[onnx.ModelProto], None]], None]
) -> None:
    edit(folder / "student.onnx", lambda model: model.ClearField("metadata_props"))
    with pytest.raises(UserError, match="no classes"):
        OnnxClassifier(folder / "student.onnx")


@pytest.mark.parametrize(
    ("metadata", "dtype"),
    [
        ({"dtype": "int8"}, "int8"),
        ({"precision": "int8"}, "int8"),  # the key of older files
        ({"dtype": "fp32", "precision": "int8"}, "fp32"),
        ({}, "fp32"),  # the oldest files
    ],
)
def test_the_dtype_is_read_from_files_of_any_age(
    folder: Path, edit: Callable[[Path, Callable[[onnx.ModelProto], None]], None], metadata: dict[str, str], dtype: str
) -> None:
    def add(model: onnx.ModelProto) -> None:
        for key, value in metadata.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value

    edit(folder / "student.onnx", add)
    assert OnnxClassifier(folder / "student.onnx", threads=1).dtype == dtype
