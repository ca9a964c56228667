"""Clusters: images that show the same thing, named by a column or by the path."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from decant.data.manifest import (
    CLUSTER,
    Manifest,
    build_manifest,
    dependent_groups,
    draw_splits,
    read_manifest,
    write_manifest,
)
from decant.data.sources import open_source
from decant.errors import UserError
from decant.study import Data


def photos(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def in_folders(tmp_path: Path, **keys: str) -> Manifest:
    """Videos of 5 frames each, in two classes; 20 videos."""
    photos(
        tmp_path / "set", [f"{'ab'[video % 2]}/video{video}_{frame}.png" for video in range(20) for frame in range(5)]
    )
    data = Data(source="folder", path="set", **keys)
    return build_manifest(open_source(data, tmp_path, tmp_path / "work", 0), data, 0)


def in_table(tmp_path: Path, column: str) -> Manifest:
    photos(tmp_path / "set" / "photos", [f"{number}.png" for number in range(12)])
    rows = [f"{number}.png,{'ab'[number % 2]},{'' if number > 9 else f'car{number // 2}'}" for number in range(12)]
    (tmp_path / "set" / "table.csv").write_text("id,label,vehicle\n" + "\n".join(rows) + "\n", encoding="utf-8")
    data = Data(source="csv", path="set", table="table.csv", images="photos", cluster_column=column)
    return build_manifest(open_source(data, tmp_path, tmp_path / "work", 0), data, 0)


def test_a_pattern_names_the_cluster(tmp_path: Path) -> None:
    manifest = in_folders(tmp_path, cluster_pattern=r"(video\d+)_")
    assert manifest.rows[CLUSTER].nunique() == 20
    assert manifest.rows.set_index("path")[CLUSTER]["a/video4_3.png"] == "video4"


def test_a_column_names_the_cluster_and_an_empty_cell_none(tmp_path: Path) -> None:
    clusters = in_table(tmp_path, "vehicle").rows.sort_values("path")[CLUSTER]
    assert clusters.nunique() == 5 and clusters.isna().sum() == 2


def test_drawn_splits_keep_clusters_whole(tmp_path: Path) -> None:
    drawn = draw_splits(in_folders(tmp_path, cluster_pattern=r"(video\d+)_"), 0, 0.2, 0.2).rows
    assert drawn.groupby(CLUSTER)["split"].nunique().max() == 1
    assert set(drawn["split"]) == {"train", "val", "test"}
    without = draw_splits(in_folders(tmp_path), 0, 0.2, 0.2).rows
    assert without.groupby(without["path"].str.extract(r"(video\d+)_", expand=False))["split"].nunique().max() > 1


def test_groups_and_clusters_are_joined_through_others() -> None:
    rows = pd.DataFrame(
        {
            "id": list("abcdef"),
            "group": ["g", "g", "h", "i", "j", "k"],
            CLUSTER: ["one", "two", "two", None, None, "one"],
        }
    )
    found = dependent_groups(rows)
    assert len(set(found[[0, 1, 2, 5]])) == 1 and len(set(found)) == 3
    assert set(found) <= set(rows["group"])
    assert dependent_groups(rows.drop(columns=CLUSTER)).tolist() == rows["group"].tolist()


def test_clusters_are_kept_in_the_file(tmp_path: Path) -> None:
    manifest = in_table(tmp_path, "vehicle")
    write_manifest(manifest, tmp_path)
    pd.testing.assert_frame_equal(read_manifest(tmp_path).rows, manifest.rows)


def test_without_the_keys_there_is_no_column(tmp_path: Path) -> None:
    assert CLUSTER not in in_folders(tmp_path).rows


@pytest.mark.parametrize("pattern", [r"(nothing)", r"(video\d+_\d+)"])
def test_a_pattern_that_joins_no_images_is_a_users_mistake(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="no two images share a cluster"):
        in_folders(tmp_path, cluster_pattern=pattern)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cluster_pattern": "video"}, "0 groups in round brackets"),
        ({"cluster_pattern": "(a"}, "no regular expression"),
        ({"cluster_pattern": "(a)", "cluster_column": "b"}, "not both"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Data(**keys)


def test_a_missing_column_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'vehicl'.* Did you mean 'vehicle'.*cluster_column"):
        in_table(tmp_path, "vehicl")


def test_a_folder_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.cluster_column names a column, but a source of the kind folder"):
        in_folders(tmp_path, cluster_column="vehicle")
