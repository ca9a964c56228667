"""CIFAR-10 and CIFAR-100 by name, from torchvision's checked files."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from decant.data.images import BrokenImage
from decant.data.sources.base import BaseSource, ListedImage
from decant.errors import UserError


class CifarSource(BaseSource):
    """The 32 px images (Krizhevsky 2009) as lossless PNG, with paths "train#<index>" and "test#<index>".

    torchvision checks the MD5 of every file before it reads the file. download: True lets it download missing files.
    """

    def __init__(self, name: str, root: Path, download: bool, splits: Mapping[str, str] | None = None) -> None:
        super().__init__(root, splits)
        self._parts = {"train": load(name, root, True, download), "test": load(name, root, False, download)}
        self.classes: list[str] = list(self._parts["train"].classes)

    def digest(self) -> str:
        parts = []
        for part in self._parts.values():
            parts.append(hashlib.sha256(np.ascontiguousarray(part.data).tobytes()).hexdigest())
            parts.append(hashlib.sha256(np.asarray(part.targets, np.int64).tobytes()).hexdigest())
        return self._combined_digest(*parts)

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        for path in dict.fromkeys(paths):
            split, _, index = path.partition("#")
            yield path, png(self._parts[split].data[int(index)])

    def _list_images(self) -> Iterator[ListedImage]:
        for split, part in self._parts.items():
            for index, target in enumerate(part.targets):
                yield ListedImage(f"{split}#{index}", self.classes[target], split)


def load(name: str, root: Path, train: bool, download: bool) -> Any:
    """torchvision's data set. Raises UserError if its files are missing and cannot be downloaded."""
    from torchvision import datasets  # slow to import, and no other source needs it

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    archive = "cifar-10-python.tar.gz" if name == "cifar10" else "cifar-100-python.tar.gz"
    try:
        return kind(root=str(root), train=train, download=download)
    except (RuntimeError, OSError) as error:
        advice = (
            f"The download failed ({error}): is there a network?"
            if download
            else "Set data.download: true to download it."
        )
        raise UserError(
            f"{name} is missing or damaged: looked below {root} for the files of {archive}. {advice} Or "
            "unpack that archive there, set DECANT_DATA, or name a folder of parquet files as data.path."
        ) from error


def png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
