"""One tiny student, exported once, and the means to break its file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from PIL import Image

from decant.data.evaluation import Preprocessing
from decant.export.student import export_student
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier

CLASSES = ["van", "bus", "Straßenbahn", "tow truck", "拖拉机"]


def lively(classifier: Classifier, input_px: int) -> Classifier:
    """Random weights whose batch statistics were measured, so that the logits differ from picture to picture."""
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        classifier.train()(torch.rand(32, 3, input_px, input_px, generator=torch.Generator().manual_seed(1)))
    return classifier.eval()


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Checkpoint]:
    def make(
        architecture: str = "test_efficientnet",
        input_px: int = 64,
        crop_ratio: float = 0.9,
        **arguments: object,
    ) -> Checkpoint:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            backbone = timm.create_model(architecture, num_classes=len(CLASSES), **arguments)
            classifier = Classifier(backbone, (0.6, 0.45, 0.3), (0.2, 0.25, 0.3))
            lively(classifier, input_px)
        return Checkpoint(classifier, list(CLASSES), Preprocessing(input_px, crop_ratio), {})

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="session")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_student(checkpoint, folder, temperature=1.7, metadata={"study": "toys"})
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder, to be broken."""
    return Path(shutil.copytree(exported, tmp_path / "student"))


@pytest.fixture(scope="session")
def edit() -> Callable[[Path, Callable[[onnx.ModelProto], None]], None]:
    def edit(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
        model = onnx.load(path)
        change(model)
        path.write_bytes(model.SerializeToString())

    return edit


@pytest.fixture(scope="session")
def pictures() -> list[tuple[str, np.ndarray]]:
    """Noise and smooth pictures in odd sizes, eight of them in one size."""
    rng = np.random.default_rng(7)
    shapes = [(60, 90)] * 8 + [
        (64, 64),
        (71, 71),
        (31, 45),
        (203, 121),
        (1, 40),
        (90, 2),
        (128, 300),
        (65, 64),
    ]
    found = []
    for number, (height, width) in enumerate(shapes):
        if number % 2:
            picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        else:
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            picture = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
        found.append((f"picture {number}", picture))
    return found
