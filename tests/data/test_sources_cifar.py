"""CIFAR by name: torchvision's checked files, or a clear error if they are missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decant.data.images import decode
from decant.data.manifest import build_manifest
from decant.data.sources import open_source
from decant.data.sources.base import ListedImage
from decant.errors import UserError
from decant.study import Data


class FakeCifar:
    """The interface of torchvision's data sets, without their files."""

    classes = ("airplane", "automobile")
    arguments: tuple[Any, ...] = ()

    def __init__(self, root: str, train: bool, download: bool) -> None:
        FakeCifar.arguments = (root, download)
        count = 4 if train else 2
        self.data = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8)
        self.targets = [0, 1] * (count // 2)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_rows_pixels_and_classes_are_those_of_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"torchvision.datasets.{name.upper()}", FakeCifar)
    data = Data(source=name, path="cifar", download=True)  # type: ignore[arg-type]
    source = open_source(data, tmp_path, tmp_path)
    assert FakeCifar.arguments == (str(tmp_path / "cifar"), True)
    assert list(source.list_images())[3:5] == [
        ListedImage("train#3", "automobile", "train"),
        ListedImage("test#0", "airplane", "test"),
    ]
    pixels = {path: decode(content) for path, content in source.read(["test#1", "train#2"])}
    np.testing.assert_array_equal(pixels["test#1"], FakeCifar("", False, False).data[1])
    np.testing.assert_array_equal(pixels["train#2"], FakeCifar("", True, False).data[2])
    assert build_manifest(source, data, 0).rows["split"].value_counts().to_dict() == {"train": 4, "test": 2}
    assert source.digest() == open_source(data, tmp_path, tmp_path).digest()


def test_missing_files_are_an_error_with_instructions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz.*download: true.*DECANT_DATA.*parquet"):
        open_source(Data(source="cifar10"), tmp_path, tmp_path)


def test_a_download_without_a_network_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **options: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(UserError, match=r"The download failed \(.*\): is there a network\?"):
        open_source(Data(source="cifar100", download=True), tmp_path, tmp_path)


def test_damaged_files_are_refused_before_they_are_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "batches.meta", "test_batch"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/decant-was-here'\ntR.")
    with pytest.raises(UserError, match="missing or damaged"):
        open_source(Data(source="cifar10"), tmp_path, tmp_path)
