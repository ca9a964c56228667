"""What to measure on where nothing was trained: a student of random weights, and a drawn photo.

Neither the time of a network nor that of a resize depends on what weights or pixels say.
"""

from pathlib import Path

import numpy as np

from decant.data.preprocessing import Preprocessing
from decant.export.student import export_student
from decant.models.backbones import build_classifier
from decant.models.checkpoint import Checkpoint
from toy_vehicles.scene import draw

ARCHITECTURE = "tf_efficientnet_lite0"  # the photo student's


def random_student(input_px: int = 128, classes: int = 10) -> Checkpoint:
    """The photo student as it is before it has learned anything; always the same one."""
    classifier, source = build_classifier(ARCHITECTURE, classes, input_px, ["none"], seed=0)
    names = [f"class {number}" for number in range(classes)]
    card = {"architecture": ARCHITECTURE, "weights": source}
    return Checkpoint(classifier.eval(), names, Preprocessing(input_px), card)


def exported_random_student(folder: Path) -> Path:
    """`student.onnx` of the random_student, exported into `folder` with the files beside it."""
    export_student(random_student(), folder)
    return folder / "student.onnx"


def drawn_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A vehicle in its surroundings: uint8 [height, width, 3], RGB."""
    return np.array(draw("van", np.random.default_rng(seed), width, height))
