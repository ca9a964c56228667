"""An app that serves the tiny exported student, and images to send to it."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image, PngImagePlugin
from waitress import wasyncore

from decant.export.runtime import OnnxClassifier
from decant.serving.app import AppOptions, create_app
from decant.serving.served_model import ServedModel, served_models
from decant.serving.server import TimedServer, server_of
from decant.serving.uploads import Limits

LIMITS = Limits(bytes=2_000_000, pixels=1_000_000, files=4, seconds=20)
Encode = Callable[..., bytes]


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode() -> Encode:
    """The bytes of an image file."""
    return encoded


@pytest.fixture(autouse=True)
def pillow_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores what `create_app` sets for the whole process."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", PngImagePlugin.MAX_TEXT_MEMORY)


@pytest.fixture(scope="session")
def limits() -> Limits:
    return LIMITS


@pytest.fixture(scope="session")
def served_file(exported: Path) -> Path:
    return exported / "student.onnx"


@pytest.fixture(scope="session")
def models(served_file: Path) -> list[ServedModel]:
    return served_models([("", served_file), ("second", served_file)])


@pytest.fixture
def app(models: list[ServedModel]) -> Flask:
    return create_app(models, AppOptions(LIMITS, workers=2))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def in_process(app: Flask, limits: Limits) -> Iterator[TimedServer]:
    """The app behind waitress in this process."""
    server = server_of(app, "127.0.0.1", 0, workers=1, limits=limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))  # its loop ends when nothing is open
    thread.join(20)
    server.task_dispatcher.shutdown()
    server.quick.shutdown()


@pytest.fixture(scope="session")
def classifier(served_file: Path) -> OnnxClassifier:
    """The file itself: what every protocol must answer."""
    return OnnxClassifier(served_file, threads=1)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A smooth image of an odd size."""
    coarse = Image.fromarray(np.random.default_rng(3).integers(0, 256, (5, 4, 3), dtype=np.uint8))
    return np.array(coarse.resize((83, 61), Image.Resampling.BICUBIC))
