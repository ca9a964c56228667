"""The pictures of a study, from its own images: which images they show, and that they are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from decant.data.manifest import Manifest
from decant.evaluation.mistakes import Mistake
from decant.stages.support.pictures import duplicate_tiles, mistake_tiles, sample_tiles, suspect_tiles, write_pictures
from decant.stages.support.resolve import stage_result

GIVEN = ["id", "content", "path", "given_label", "label", "split", "group", "weight", "action"]
NAMES = ["samples", "duplicates", "suspects", "views", "worst", "typical", "activation"]


@pytest.fixture
def manifest() -> Manifest:
    rows = [
        ("a", "1", "a.jpg", "car", "car", "train", "g1", 1.0, "none"),
        ("b", "1", "b.jpg", "car", "car", "train", "g1", 1.0, "drop"),
        ("c", "2", "c.jpg", "van", "van", "train", "g2", 1.0, "group"),
        ("d", "3", "d.jpg", "van", "van", "train", "g2", 1.0, "group"),
        ("e", "4", "e.jpg", "car", "car", "test", "g3", 1.0, "none"),
    ]
    table = pd.DataFrame(rows, columns=GIVEN).assign(reason="", width=6, height=4)
    return Manifest(table, ["car", "van"])


def issues(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "issue", "suggested_label"])


@pytest.fixture
def read() -> Callable[[pd.DataFrame], dict[str, np.ndarray]]:
    """Images whose pixels all have the number of the letter that is their id; d cannot be read."""
    return lambda rows: {id_: np.full((4, 6, 3), ord(id_), np.uint8) for id_ in rows["id"] if id_ != "d"}


def shown(tiles: Any) -> list[str]:
    return [chr(tile.pixels[0, 0, 0]) for tile in tiles]


def test_samples_are_kept_images_of_train_with_their_label(manifest: Manifest, read: Any) -> None:
    tiles, _ = sample_tiles(manifest, read)
    assert [(*letter, *tile.caption) for letter, tile in zip(shown(tiles), tiles, strict=True)] == [
        ("a", "car"),
        ("c", "van"),
    ]


def test_a_duplicate_is_shown_beside_the_image_that_it_repeats(manifest: Manifest, read: Any) -> None:
    tiles = duplicate_tiles(manifest, issues(("b", "exact_duplicate", "")), read)
    assert shown(tiles) == ["b", "a"] and tiles[0].caption == ["exact duplicate", "train: car"]


def test_a_pair_with_an_image_that_cannot_be_read_is_left_out(manifest: Manifest, read: Any) -> None:
    assert duplicate_tiles(manifest, issues(("c", "near_duplicate", "")), read) == []


def test_a_doubtful_label_is_shown_with_the_suggested_class(manifest: Manifest, read: Any) -> None:
    (tile,) = suspect_tiles(manifest, issues(("c", "label", "car"), ("a", "odd", "")), read)
    assert tile.caption == ["van", "[car]"]


def test_a_mistake_has_the_label_and_every_answer(manifest: Manifest, read: Any) -> None:
    said = {"file": np.log([[0.1, 0.9]]), "teachers": np.log([[0.8, 0.2]])}
    (tile,) = mistake_tiles(manifest, manifest.of_split("test"), [Mistake(0, 0, 1, 0.9)], said, read)
    assert tile.caption == ["car", "file 0.90 van", "teachers 0.80 car"]


def test_a_finished_study_has_its_pictures(chain: Any, tmp_path: Path) -> None:
    stages = {**chain.stages, **{name: stage_result(chain.experiment, name) for name in ("clean", "shipped")}}
    write_pictures(chain.experiment, chain.manifest, stages, stage_result(chain.experiment, "pixels"), tmp_path)
    written = {path.stem: path for path in (tmp_path / "pictures").iterdir()}
    assert {"samples", "duplicates", "views", "worst", "typical", "activation"} <= set(written) <= set(NAMES)
    for path in written.values():
        assert path.stat().st_size <= 150_000
        with Image.open(path) as sheet:
            assert sheet.format == "JPEG" and sheet.width > 150
