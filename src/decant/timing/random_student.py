"""A student with random weights and a drawn photo, for measurements that need no trained model.

The time of a network or of a resize does not depend on the values of weights or pixels.
"""

from pathlib import Path

import numpy as np

from decant.data.preprocessing import Preprocessing
from decant.export.student import export_student
from decant.models.backbones import build_classifier
from decant.models.checkpoint import Checkpoint
from toy_vehicles.scene import draw

ARCHITECTURE = "tf_efficientnet_lite0"  # the student's architecture in the studies on photos


DEFAULT = Preprocessing(128)


def random_student(preprocessing: Preprocessing = DEFAULT, classes: int = 10) -> Checkpoint:
    """Return an untrained student; the weights are the same in every call."""
    classifier, source = build_classifier(ARCHITECTURE, classes, preprocessing.input_px, ["none"], seed=0)
    names = [f"class {number}" for number in range(classes)]
    card = {"architecture": ARCHITECTURE, "weights": source}
    return Checkpoint(classifier.eval(), names, preprocessing, card)


def exported_random_student(folder: Path, preprocessing: Preprocessing = DEFAULT) -> Path:
    """Export the random student into `folder` and return the path of its `student.onnx`."""
    export_student(random_student(preprocessing), folder)
    return folder / "student.onnx"


def drawn_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a drawn vehicle with background: uint8 [height, width, 3], RGB."""
    return np.array(draw("van", np.random.default_rng(seed), width, height))
