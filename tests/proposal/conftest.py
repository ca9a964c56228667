"""Photos in class folders, and networks so small that timing them costs nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MICRO = (  # replaces the proposed networks
    "teachers={convnext: {recipe: micro_convnext}, probe: {recipe: micro_probe}}",
    "student={recipe: micro}",
    "clean={encoder: {architecture: test_efficientnet, weights: [none], input_px: 32}, folds: 2}",
)


@pytest.fixture
def micro_overrides() -> tuple[str, ...]:
    return MICRO


@pytest.fixture
def photos_at(tmp_path: Path) -> Callable[..., Path]:
    """A function that draws `count` photos of noise per class into class folders below tmp_path / name.

    size_px: height and width of each.
    """

    def draw(
        name: str = "photos",
        classes: tuple[str, ...] = ("bus", "car"),
        count: int = 6,
        size_px: tuple[int, int] = (40, 60),
    ) -> Path:
        generator = np.random.default_rng(0)
        for label in classes:
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (*size_px, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / label / f"{number}.png")
        return tmp_path / name

    return draw
