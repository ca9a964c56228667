"""Images to try on the page: drawn toy vehicles, or images of a folder."""

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from decant.data.given_images import GivenImages
from decant.data.images import BrokenImage, decode
from decant.errors import UserError
from decant.serving.uploads import Refused, Upload
from toy_vehicles.scene import CLASSES, draw

MAX_SAMPLES = 8
TOY_PX = 320
THUMBNAIL_PX = 112


class Samples:
    """Images by their names. `upload` and `thumbnail` raise Refused for another name."""

    def __init__(self, names: Sequence[str], read: Callable[[str], bytes]) -> None:
        self.names = list(names)
        self._read = functools.cache(read)
        self.thumbnail = functools.cache(self._thumbnail)

    def upload(self, name: str) -> Upload:
        """The image as if a client had sent it."""
        if name not in self.names:
            raise Refused(404, "not_found", "no such sample")
        return Upload(name, self._read(name))

    def _thumbnail(self, name: str) -> bytes:
        """A small JPEG of the image."""
        small = Image.fromarray(decode(self.upload(name).content))
        small.thumbnail((2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))  # for screens with two pixels per CSS pixel
        return jpeg(small, quality=75)


class ToySamples(Samples):
    """Vehicles of several classes, each drawn at its first request."""

    def __init__(self, count: int = 6) -> None:
        names = [f"{label}.jpg" for label in CLASSES[:count]]
        super().__init__(names, lambda name: drawn(name.removesuffix(".jpg")))


class FolderSamples(Samples):
    """The first readable images of a folder, at most MAX_SAMPLES. Raises UserError if there is none."""

    def __init__(self, folder: Path) -> None:
        images: dict[str, bytes] = {}
        for name, content in GivenImages([folder]):
            if isinstance(content, bytes) and is_readable(content):
                images[name.replace("/", " ")] = content
            if len(images) == MAX_SAMPLES:
                break
        if not images:
            raise UserError(f"{folder} contains no image that can be read; give another folder to --samples")
        super().__init__(list(images), images.__getitem__)


def drawn(label: str) -> bytes:
    """A drawn vehicle of that class as JPEG; the same picture each time."""
    image = draw(label, np.random.default_rng([0, CLASSES.index(label)]), TOY_PX * 4 // 3, TOY_PX, easy=True)
    return jpeg(image.convert("RGB"), quality=85)


def is_readable(content: bytes) -> bool:
    try:
        decode(content)
    except BrokenImage:
        return False
    return True


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
