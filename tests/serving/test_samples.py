"""Samples to try: drawn ones, or the readable images of a folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from decant.data.images import decode
from decant.errors import UserError
from decant.serving.samples import MAX_SAMPLES, FolderSamples, ToySamples
from decant.serving.uploads import Refused

Encode = Callable[..., bytes]


def test_toy_samples_are_the_same_each_time() -> None:
    one, other = ToySamples(), ToySamples()
    assert one.names == other.names and len(one.names) == 6
    assert one.upload(one.names[0]) == other.upload(one.names[0])
    assert decode(one.thumbnail(one.names[0])).shape[0] < decode(one.upload(one.names[0]).content).shape[0]


def test_the_first_readable_images_of_a_folder_are_samples(tmp_path: Path, photo: np.ndarray, encode: Encode) -> None:
    (tmp_path / "in").mkdir()
    for number in range(MAX_SAMPLES + 3):
        (tmp_path / "in" / f"{number:02}.png").write_bytes(encode(photo))
    (tmp_path / "in" / "01.png").write_bytes(b"broken")
    samples = FolderSamples(tmp_path)
    assert samples.names == [f"in {number:02}.png" for number in range(MAX_SAMPLES + 1) if number != 1]
    assert samples.upload("in 02.png").content == encode(photo)
    for name in ("in 01.png", "../secret", "in/02.png"):
        with pytest.raises(Refused):
            samples.upload(name)


def test_a_folder_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="--samples"):
        FolderSamples(tmp_path)
