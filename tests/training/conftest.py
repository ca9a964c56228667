"""A task that a small network learns in seconds: views of red, green and blue images from a pixel cache."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decant.data.pixels import PixelCache, build_pixel_cache
from decant.data.views import ViewSet
from decant.models.backbones import build_classifier
from decant.models.classifier import Classifier
from decant.study import Training, Views
from decant.training.loop import Task
from decant.training.supervised import supervised_loss

COLOURS = 3
EACH = 8


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PixelCache:
    """A cache of 24 images, 40 x 32 px: noise in one colour each. Their classes are in `targets`."""
    folder = tmp_path_factory.mktemp("pixels")
    generator = np.random.default_rng(5)
    images = []
    for number in range(COLOURS * EACH):
        pixels = generator.integers(0, 90, (32, 40, 3), dtype=np.uint8)
        pixels[..., number % COLOURS] += 130
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        images.append((f"{number % COLOURS}-{hashlib.sha256(buffer.getvalue()).hexdigest()}", buffer.getvalue()))
    build_pixel_cache(folder, images, [content for content, _ in images], px=32)
    return PixelCache(folder)


@pytest.fixture(scope="session")
def targets(cache: PixelCache) -> np.ndarray:
    """The class of each cache row, int64 [24]."""
    return np.array([int(content[0]) for content in cache.contents])


@pytest.fixture
def task_of(cache: PixelCache, targets: np.ndarray) -> Callable[..., Task]:
    """A function that makes the task of classifying the colours."""

    def make(settings: Training, views: Views | None = None) -> Task:
        rows = np.arange(len(cache))
        view_set = ViewSet.of(cache, views or settings.views, 1, rows)
        criterion = supervised_loss(view_set, targets, np.ones(len(cache)), COLOURS, settings)
        return Task(rows, view_set, criterion)

    return make


@pytest.fixture
def network_of() -> Callable[..., Classifier]:
    """A function that builds the network for given settings, with a fixed seed."""

    def make(settings: Training, seed: int = 0) -> Classifier:
        classifier, _ = build_classifier(
            settings.architecture, COLOURS, settings.input_px, ["none"], seed, settings.model_args, settings.drop_path
        )
        return classifier

    return make


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stage"
