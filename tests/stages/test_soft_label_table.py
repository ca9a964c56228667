"""The ensemble's soft labels as a table, and the reader of the store in docs/soft_labels.md."""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from decant.distillation.soft_labels import SoftLabelStore
from decant.distillation.table import read_classes, read_table
from decant.errors import UserError
from decant.stages.soft_labels import open_store, stored_views
from decant.stages.support.ensemble_labels import pooled_labels
from decant.stages.support.label_table import write_pooled_table
from decant.stages.support.weights import read_weights

Chain = Any


@pytest.fixture(scope="module")
def documented(repository: Path) -> ModuleType:
    """The reader that the documentation shows."""
    text = (repository / "docs" / "soft_labels.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) < 100
    module = ModuleType("documented")
    exec(code, module.__dict__)
    return module


@pytest.fixture(scope="module")
def table(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "soft_labels.parquet"
    write_pooled_table(chain.experiment, path)
    return path


@pytest.mark.parametrize("classes", [7, 90])  # dense, sparse
def test_the_documented_reader_reads_what_the_store_reads(documented: ModuleType, tmp_path: Path, classes: int) -> None:
    contents = [f"{row:064x}" for row in range(20)]
    header = {"teacher_digest": "t", "folds": 0, "view_version": 3}
    store = SoftLabelStore.create(tmp_path, contents=contents, classes=classes, teacher="t", header=header)
    probabilities = np.random.default_rng(0).dirichlet(np.full(classes, 0.1), 20).astype(np.float32)
    store.write(5, probabilities)
    found = documented.read_view(tmp_path, 5)
    np.testing.assert_allclose(found, store.read(5, np.arange(20)), rtol=1e-6)
    assert np.abs(found - probabilities).max() < 0.03  # of 90 classes only the most probable are kept
    assert documented.read_contents(tmp_path) == contents


def test_the_documented_reader_refuses_a_damaged_file(documented: ModuleType, chain: Chain, tmp_path: Path) -> None:
    store = open_store(chain.stages["soft_labels/probe"].folder)
    for path in store.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    np.testing.assert_array_equal(documented.read_view(tmp_path, 1), store.read(1, np.arange(len(store.contents()))))
    (damaged,) = tmp_path.glob("view-00001-*.npy")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="view 1"):
        documented.read_view(tmp_path, 1)


def test_the_table_has_the_ensembles_labels_of_every_view(chain: Chain, table: Path) -> None:
    names = ("convnext", "probe")
    stores = {name: open_store(chain.stages[f"soft_labels/{name}"].folder) for name in names}
    ensemble = pooled_labels(stores, read_weights(chain.stages["ensemble"].folder))
    views = list(read_table(table))
    assert [view.view for view in views] == [0, 1, 2]
    assert read_classes(table) == chain.manifest.classes
    rows = np.arange(len(chain.data.cache))
    for view in views:
        assert view.contents == list(chain.data.cache.contents)
        np.testing.assert_array_equal(view.probabilities, ensemble(view.view, rows))


def test_a_view_can_be_drawn_from_its_row_alone(chain: Chain, table: Path) -> None:
    """By PyTorch's own affine grid, as the documentation says, from the pixels of the image and of its partner."""
    cache = chain.data.cache
    rows = pq.read_table(table).to_pylist()
    of = {(row["content"], row["view"]): row for row in rows}
    views = stored_views(chain.experiment.study, cache, chain.data.labels, chain.geometry)
    mixed = 0
    for row in [row for row in rows if row["view"] == 1][:40]:
        expected = views.render(cache.rows_of([row["content"]]), 1, 64)[0].float()
        drawn = one_view(cache, row)
        if row["partner"] is not None and row["patch"][0] >= row["patch"][2]:
            partner = one_view(cache, of[row["partner"], 1])
            drawn = row["share"] * drawn + (1 - row["share"]) * partner
            mixed += 1
        assert (drawn - expected).abs().mean() < 2, row["path"]
    assert mixed > 0, "no view mixes two images: the test shows less than it should"


def one_view(cache: Any, row: dict[str, Any]) -> torch.Tensor:
    """float32 [3, 64, 64] in [0, 255]."""
    pixels = torch.from_numpy(cache.read(cache.rows_of([row["content"]]), 0)).permute(0, 3, 1, 2).float()
    grid = F.affine_grid(torch.tensor(row["affine"]).view(1, 2, 3), [1, 3, 64, 64], align_corners=False)
    view = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)[0]
    matrix = torch.tensor(row["colour"]).view(3, 4)
    view = (torch.einsum("ij,jhw->ihw", matrix[:, :3], view) + 255 * matrix[:, 3].view(3, 1, 1)).clamp(0, 255)
    left, top, right, bottom = row["erased"]
    if left < right:
        x = (torch.arange(64) * 2 + 1) / 64 - 1
        inside = ((x >= left) & (x < right))[None, :] & ((x >= top) & (x < bottom))[:, None]
        view = torch.where(inside, 255 * torch.tensor(row["fill"]).view(3, 1, 1), view)
    return view


def test_another_programs_table_needs_three_columns(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    schema = pa.schema(
        [("content", pa.string()), ("view", pa.int64()), ("probabilities", pa.list_(pa.float64()))],
        metadata={b"decant": json.dumps({"classes": ["cat", "dog"]}).encode()},
    )
    rows = {"content": ["a", "b", "a"], "view": [4, 4, 9], "probabilities": [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]}
    pq.write_table(pa.table(rows, schema=schema), path)
    first, second = read_table(path)
    assert (first.view, first.contents, second.view, second.contents) == (4, ["a", "b"], 9, ["a"])
    np.testing.assert_array_equal(first.probabilities, np.float32([[0.25, 0.75], [1, 0]]))
    for wrong in ([0.25, 0.7], [1.0], [-0.5, 1.5], [float("nan"), 1.0], None):
        pq.write_table(pa.table({**rows, "probabilities": [wrong, [1.0, 0.0], [0.5, 0.5]]}, schema=schema), path)
        with pytest.raises(UserError, match=r"view 4 .* is not 2 numbers"):
            list(read_table(path))


def test_what_is_no_table_of_soft_labels_is_refused(tmp_path: Path) -> None:
    for name, content in {"text": b"no table", "empty": b""}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not a table of soft labels"):
            read_classes(path)
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"content": ["a"]}), plain)
    with pytest.raises(UserError, match="is not a table of soft labels"):
        read_classes(plain)
    rows = {"content": ["a"], "view": [0], "probabilities": [[1.0]]}
    for classes, change, message in [
        (["cat"], {"view": None}, "has no column view"),
        (["cat"], {"view": ["0"]}, "the column view is string"),
        (["cat"], {"probabilities": [1.0]}, "the column probabilities is double"),
        ("cat", {}, "its classes are not a list of names"),
        (5, {}, "its classes are not a list of names"),
    ]:
        kept = {name: values for name, values in {**rows, **change}.items() if values is not None}
        metadata = {b"decant": json.dumps({"classes": classes}).encode()}
        pq.write_table(pa.table(kept).replace_schema_metadata(metadata), plain)
        with pytest.raises(UserError, match=message):
            read_classes(plain)
    table = pa.table({**rows, "view": pa.array([None], pa.int32())})
    pq.write_table(table.replace_schema_metadata({b"decant": b'{"classes": ["cat"]}'}), plain)
    with pytest.raises(UserError, match="a row has no view"):
        list(read_table(plain))
