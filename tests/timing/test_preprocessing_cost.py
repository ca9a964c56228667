"""The file is compared with the fastest exact preprocessing outside, and both are timed alternately."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decant.data.evaluation_transform import evaluation_transform
from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.timing import preprocessing_cost as preparation
from decant.timing.preprocessing_cost import COST_COLUMNS, OUTSIDE, cheapest, cost_row, in_turns
from decant.timing.random_student import drawn_photo

Prepare = Callable[[Image.Image, Preprocessing], np.ndarray]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return drawn_photo(75, 100)


@pytest.mark.parametrize("way", OUTSIDE.values(), ids=list(OUTSIDE))
def test_each_way_outside_gives_the_input_of_the_bare_graph(photo: np.ndarray, way: Prepare) -> None:
    prepared = way(Image.fromarray(photo), Preprocessing(48, 0.9))
    assert prepared.shape == (1, 3, 48, 48) and prepared.dtype == np.float32 and prepared.flags.c_contiguous
    expected = evaluation_transform(photo, Preprocessing(48, 0.9)).numpy()
    assert 255 * np.abs(prepared[0] - expected).max() <= 1


@pytest.mark.parametrize("way", OUTSIDE.values(), ids=list(OUTSIDE))
@pytest.mark.parametrize("preprocessing", [Preprocessing((40, 56), 1.0, "stretch"), Preprocessing(48, 1.0, "pad")])
def test_each_way_outside_stretches_and_pads(photo: np.ndarray, way: Prepare, preprocessing: Preprocessing) -> None:
    prepared = way(Image.fromarray(photo), preprocessing)
    assert 255 * np.abs(prepared[0] - evaluation_transform(photo, preprocessing).numpy()).max() <= 1


def test_a_fast_way_that_is_not_exact_is_not_chosen(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    name, exact = next(iter(OUTSIDE.items()))
    grey = np.full((1, 3, 48, 48), 0.5, np.float32)
    monkeypatch.setattr(preparation, "OUTSIDE", {"constant": lambda photo, preprocessing: grey, name: exact})
    assert cheapest(photo, Preprocessing(48), calls=3)[0] == name
    monkeypatch.setattr(preparation, "OUTSIDE", {"constant": lambda photo, preprocessing: grey})
    with pytest.raises(UserError, match="differs by more than one grey level"):
        cheapest(photo, Preprocessing(48), calls=3)


def test_contenders_alternate_and_every_second_round_has_reverse_order() -> None:
    order: list[str] = []
    medians = in_turns({name: lambda name=name: order.append(name) for name in "abc"}, calls=4, warmup=2)
    assert "".join(order) in ("abccba" * 3, "cbaabc" * 3)
    assert set(medians) == set("abc") and min(min(times) for times in medians.values()) >= 0


def test_waiting_counts_as_wall_time_and_not_as_cpu_time() -> None:
    ((wall, cpu),) = in_turns({"wait": lambda: time.sleep(0.02)}, calls=3, warmup=0).values()
    assert wall >= 20 > 2 * cpu


def test_a_row_compares_the_file_with_its_bare_graph(exported: Path, photo: np.ndarray) -> None:
    row = cost_row(exported / "student.onnx", photo, threads=1, calls=5)
    assert tuple(row) == COST_COLUMNS
    assert (row["height_px"], row["width_px"], row["threads"], row["calls"]) == (75, 100, 1, 5)
    assert row["full_to_apart"] == row["full_ms"] / row["apart_ms"] > 0
    assert row["cpu_full_to_apart"] == row["full_cpu_ms"] / row["apart_cpu_ms"] > 0
    assert row["outside"] in OUTSIDE and 0 < row["outside_grey_levels"] <= 1


def test_a_missing_bare_graph_is_an_error(folder: Path, photo: np.ndarray) -> None:
    (folder / "student_bare.onnx").unlink()
    with pytest.raises(UserError, match="both graphs are needed"):
        cost_row(folder / "student.onnx", photo, threads=1, calls=1)
