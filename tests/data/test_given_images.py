"""The images that a person names: every one has a row, nothing blocks, nothing outside is read."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decant.data.given_images import GivenImages
from decant.data.images import BrokenImage
from decant.errors import UserError


def encoded(shade: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def read(*paths: Path) -> dict[str, bytes | BrokenImage]:
    return dict(GivenImages(paths))


def test_a_folder_gives_its_images_by_relative_path_and_counts_the_other_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.png").write_bytes(encoded(1))
    (tmp_path / "without an ending").write_bytes(encoded(2))
    for name in ("labels.csv", "Thumbs.db", ".hidden.png"):
        (tmp_path / name).write_text("x")
    images = GivenImages([tmp_path])
    assert dict(images) == {"a/b/1.png": encoded(1), "without an ending": encoded(2)}
    assert len(images) == 2 and images.skipped == 1


def test_a_link_that_leads_nowhere_keeps_its_row(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded(1))
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    content = read(tmp_path)["link"]
    assert isinstance(content, BrokenImage) and "link" in str(content)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (content,) = read(tmp_path / "pipe.png").values()
    assert isinstance(content, BrokenImage)


def test_an_image_whose_name_ends_like_an_archive_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "photo.zip").write_bytes(encoded(3))
    assert read(tmp_path / "photo.zip") == {str(tmp_path / "photo.zip"): encoded(3)}


def test_an_archive_may_have_images_whose_names_lead_out_of_it(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        for name in ("in/1.png", "../2.png"):
            member = tarfile.TarInfo(name)
            member.size = len(encoded(1))
            archive.addfile(member, io.BytesIO(encoded(1)))
    contents = read(tmp_path / "photos.tar.gz")
    assert contents["in/1.png"] == encoded(1) and isinstance(contents["../2.png"], BrokenImage)
    assert not (tmp_path.parent / "2.png").exists()


def test_what_does_not_exist_and_what_is_empty_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(path)):
            GivenImages([path])
