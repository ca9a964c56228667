"""Small networks with random weights, and images for them."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from decant.models.backbones import build_classifier
from decant.models.classifier import Classifier


@pytest.fixture
def small() -> Callable[..., Classifier]:
    """A function that builds a network with about a hundred thousand weights."""

    def build(architecture: str = "test_efficientnet", classes: int = 5, seed: int = 0) -> Classifier:
        return build_classifier(architecture, classes, 32, ["none"], seed)[0].eval()

    return build


@pytest.fixture
def images() -> Tensor:
    """Four random images, float32 [4, 3, 32, 32] in [0, 1]."""
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def encoded() -> list[tuple[str, bytes]]:
    """Five PNG files of different sizes, with their ids."""
    generator = np.random.default_rng(3)
    files = []
    for number in range(5):
        buffer = io.BytesIO()
        pixels = generator.integers(0, 256, (40 + 7 * number, 60 - 5 * number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, format="PNG")
        files.append((f"id{number}", buffer.getvalue()))
    return files
