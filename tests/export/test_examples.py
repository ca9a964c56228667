"""The two example programs beside an exported file, run as a user runs them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decant.data.images import decode
from decant.export.examples import EXAMPLES, write_examples
from decant.export.metadata import add_metadata
from decant.export.runtime import OnnxClassifier

Vehicles = list[tuple[np.ndarray, int]]


def folder_with_thresholds(fitted_file: Path, folder: Path, threshold: float, log_sum: float = -99.0) -> Path:
    """A folder with the example programs and the three files that they read."""
    folder.mkdir(exist_ok=True)
    for name in ("student.onnx", "classes.txt"):
        shutil.copy(fitted_file.with_name(name), folder)
    accept = json.dumps({"threshold": threshold, "log_sum_threshold": log_sum})
    add_metadata(folder / "student.onnx", {"accept": accept})
    (folder / "accept.json").write_text(accept)
    write_examples(folder)
    return folder


@pytest.fixture
def alone(fitted_file: Path, tmp_path: Path) -> Path:
    return folder_with_thresholds(fitted_file, tmp_path, 0.0)


@pytest.fixture
def photo(alone: Path, fitted_file: Path, vehicles: Vehicles) -> tuple[Path, str]:
    """The path of a photo that EXIF orientation turns upright, and the line that the examples must print for it."""
    upright = max((image for image, _ in vehicles), key=lambda image: image.shape[0] / image.shape[1])
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise
    path = alone / "photo.png"
    Image.fromarray(np.rot90(upright).copy()).save(path, exif=exif)
    classifier = OnnxClassifier(fitted_file, threads=1)
    probabilities, sideways = classifier.predict(upright)[0], classifier.predict(np.rot90(upright).copy())[0]
    assert abs(probabilities.max() - sideways.max()) > 1e-3  # so that ignoring EXIF changes the line
    return path, f"{classifier.classes[probabilities.argmax()]} {probabilities.max():.4f} accepted"


def printed(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_python_example_prints_the_class_of_an_upright_photo(
    alone: Path, photo: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert printed(sys.executable, "-I", str(alone / "example.py"), str(photo[0]), cwd=elsewhere) == photo[1]


def test_the_python_example_needs_only_the_onnx_file(alone: Path, photo: tuple[Path, str]) -> None:
    (alone / "classes.txt").unlink()
    assert printed(sys.executable, "-I", "example.py", str(photo[0]), cwd=alone) == photo[1]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_the_python_example_sees_the_pixels_of_the_product(alone: Path, fitted_file: Path, mode: str) -> None:
    draw = np.random.default_rng(3)
    image = Image.fromarray(draw.integers(0, 256, (40, 50, 4), np.uint8))
    path = alone / ("photo.tif" if mode == "CMYK" else "photo.png")
    (image.convert("RGB").convert(mode) if mode in ("CMYK", "1") else image.convert(mode)).save(path)
    classifier = OnnxClassifier(fitted_file, threads=1)
    probabilities = classifier.predict(decode(path.read_bytes()))[0]
    line = f"{classifier.classes[probabilities.argmax()]} {probabilities.max():.4f} accepted"
    assert printed(sys.executable, "-I", "example.py", path.name, cwd=alone) == line


def test_the_python_example_refuses_sixteen_bits(alone: Path) -> None:
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(alone / "deep.png")
    done = subprocess.run([sys.executable, "-I", "example.py", "deep.png"], cwd=alone, capture_output=True, text=True)
    assert done.returncode == 1
    assert "8 bits" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("thresholds", [(1.01, -99.0), (0.0, 99.0)])
def test_the_python_example_does_not_accept_a_prediction_below_a_threshold(
    fitted_file: Path, photo: tuple[Path, str], tmp_path: Path, thresholds: tuple[float, float]
) -> None:
    strict = folder_with_thresholds(fitted_file, tmp_path / "strict", *thresholds)
    line = printed(sys.executable, "-I", "example.py", str(photo[0]), cwd=strict)
    assert line == photo[1].replace(" accepted", " not accepted")


def test_the_examples_have_at_most_sixteen_lines_and_do_not_import_decant() -> None:
    for name, text in EXAMPLES.items():
        assert len([line for line in text.splitlines() if line.strip()]) <= 16, name
        assert "decant" not in text and "torch" not in text, name


@pytest.mark.external
def test_the_javascript_example_prints_the_same_in_node(
    node_modules: Path, fitted_file: Path, alone: Path, photo: tuple[Path, str]
) -> None:
    (alone / "node_modules").symlink_to(node_modules / "node_modules")
    assert printed("node", "example.mjs", str(photo[0]), cwd=alone) == photo[1]
    refused = photo[1].replace(" accepted", " not accepted")
    for thresholds in ((1.01, -99.0), (0.0, 99.0)):
        folder_with_thresholds(fitted_file, alone, *thresholds)
        assert printed("node", "example.mjs", str(photo[0]), cwd=alone) == refused
    folder_with_thresholds(fitted_file, alone, 0.0)
    greys = alone / "grey.jpg"
    Image.open(photo[0]).convert("L").save(greys, quality=95)
    assert printed("node", "example.mjs", str(greys), cwd=alone) == printed(
        sys.executable, "-I", "example.py", str(greys), cwd=alone
    )
