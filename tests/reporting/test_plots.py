"""Figures open, have the same bytes each time, and accept any class name."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from decant.reporting import plots
from decant.reporting.figures import render_figures
from decant.reporting.pareto import disc_areas, label_boxes, pareto, pareto_front
from decant.reporting.plots import (
    class_balance,
    confusion_matrix,
    learning_curves,
    metrics_by_split,
    plain_text,
    precision_bars,
    reliability,
)

NAMES = ["$x_", "a\nb", "车", "\\frac", "a name that is far too long to stand on any axis", "e%"]


def test_figures_have_the_same_bytes_twice_and_the_size_for_a_readme(study: Path) -> None:
    first = {path: path.read_bytes() for path in render_figures(study)}
    assert {path: path.read_bytes() for path in render_figures(study)} == first
    for path in first:
        with Image.open(path) as image:
            image.load()
            assert 1000 <= image.width <= 1400 and 300 <= image.height <= 1400
            assert path.stat().st_size < 200_000  # these are committed


def test_names_in_any_script_and_with_any_character_are_drawn(tmp_path: Path) -> None:
    n = len(NAMES)
    confusion_matrix(np.eye(n, dtype=np.int64), NAMES, tmp_path / "1.png", "$")
    class_balance({"train": dict.fromkeys(NAMES, 3)}, tmp_path / "2.png")
    precision_bars(NAMES, ["teacher"] * n, [0.5] * n, [(0.4, 0.6)] * n, tmp_path / "3.png")
    pareto(NAMES, ["teacher"] * n, [0.5] * n, [1.0] * n, [1.0] * n, tmp_path / "4.png")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_transposed_confusion_matrix_looks_different(tmp_path: Path) -> None:
    matrix = np.array([[5, 5], [0, 10]])
    confusion_matrix(matrix, ["a", "b"], tmp_path / "first.png")
    confusion_matrix(matrix.T, ["a", "b"], tmp_path / "second.png")
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("first", "second"))
    assert np.abs(first.astype(int) - second.astype(int)).max() > 100


def test_shades_are_shares_of_the_row_so_that_rare_classes_are_as_visible_as_common_ones(tmp_path: Path) -> None:
    confusion_matrix(np.array([[4, 4], [0, 8]]), ["a", "b"], tmp_path / "first.png")
    confusion_matrix(np.array([[4, 4], [0, 800]]), ["a", "b"], tmp_path / "second.png")
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("first", "second"))
    assert (first != second).mean() < 0.002  # only the digits differ


def test_with_many_classes_a_rare_mistake_is_visible_and_names_are_drawn(tmp_path: Path) -> None:
    right = 100 * np.eye(30, dtype=np.int64)
    wrong = right.copy()
    wrong[3, 25], wrong[3, 3] = 2, 98
    names = [f"class {number}" for number in range(30)]
    confusion_matrix(right, names, tmp_path / "right.png")
    confusion_matrix(wrong, names, tmp_path / "wrong.png")
    confusion_matrix(right, names[::-1], tmp_path / "named.png")
    first, second, third = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")).astype(int)
        for name in ("right", "wrong", "named")
    )
    assert (np.abs(first - second) >= 8).sum() >= 100  # a cell of ten by ten pixels
    assert (first != third).any()


@pytest.mark.parametrize("count", [2, 49, 100])
def test_figures_of_few_and_many_classes_fit_a_page(tmp_path: Path, count: int) -> None:
    names = [f"class {number}" for number in range(count)]
    confusion_matrix(np.eye(count, dtype=np.int64), names, tmp_path / "c.png")
    class_balance({"train": dict.fromkeys(names, 5), "test": dict.fromkeys(names[:1], 2)}, tmp_path / "b.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.height <= 1400


@pytest.mark.parametrize("count", [6, 49])
def test_the_legend_of_the_class_balance_lies_over_no_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, *_: figures.append(figure))
    names = [f"class {number}" for number in range(count)]
    class_balance({split: dict.fromkeys(names, 100) for split in ("train", "val", "test")}, tmp_path / "b.png")
    (figure,) = figures
    figure.draw_without_rendering()
    (ax,) = figure.axes
    legend = ax.get_legend()
    assert legend is not None and len(legend.get_texts()) == 3
    assert legend.get_window_extent().y0 >= max(bar.get_window_extent().y1 for bar in ax.patches)
    assert legend.get_window_extent().y1 <= figure.bbox.y1


def test_the_front_has_the_undominated_models() -> None:
    accuracy, latency_ms = [0.90, 0.95, 0.93, 0.95, 0.80], [3.0, 20.0, 5.0, 9.0, 4.0]
    assert pareto_front(accuracy, latency_ms) == [0, 2, 3]
    assert pareto_front([0.9, 0.9], [1.0, 1.0]) == [0]


def test_the_area_of_a_disc_is_linear_in_the_files_size_and_visible_for_an_empty_file() -> None:
    none, quarter, half, whole = disc_areas([0.0, 3.5, 7.0, 14.0])
    assert none >= 20  # a disc of about five points across
    np.testing.assert_allclose((quarter - none, half - none), ((whole - none) / 4, (whole - none) / 2))
    assert whole > 10 * none  # otherwise the offset would hide which file is smaller
    assert (disc_areas([0.0, 0.0]) == none).all()


def test_discs_are_drawn_with_the_computed_areas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    areas: list[float] = []
    scatter = Axes.scatter

    def record(self: Axes, *points: object, s: float, **style: object) -> object:
        areas.append(s)
        return scatter(self, *points, s=s, **style)

    monkeypatch.setattr(Axes, "scatter", record)
    size_mb = [14.0, 3.5]
    pareto(["a", "b"], ["student", "teacher"], [0.9, 0.8], [3.0, 1.0], size_mb, tmp_path / "pareto.png")
    assert set(disc_areas(size_mb)) <= set(areas)


def test_labels_of_close_discs_do_not_overlap() -> None:
    centres = np.array([[250.0, 400.0], [250.0, 398.0], [145.0, 403.0]])  # two close together, a third at the left edge
    sizes = [(125.0, 38.0), (118.0, 38.0), (164.0, 38.0)]
    boxes = label_boxes(centres, np.array([19.0, 19.0, 10.0]), sizes, (0.0, 0.0, 1000.0, 600.0))
    for number, (left, bottom, right, top) in enumerate(boxes):
        assert left >= 0 and bottom >= 0 and right <= 1000 and top <= 600
        for other in boxes[number + 1 :]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


def test_columns_of_a_history_are_grouped_by_metric() -> None:
    history = {
        "epoch": [1.0, 2.0],
        "loss": [2.0, 1.0],
        "val_accuracy": [0.5, 0.6],
        "val_nll": [1.0, 0.9],
        "val_f1_macro": [float("nan")] * 2,
        "images_per_second": [9.0, 9.0],
    }
    assert metrics_by_split(history) == {
        "loss": {"train": "loss", "val": "val_nll"},
        "accuracy": {"val": "val_accuracy"},
    }


def test_a_history_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no loss and no metric"):
        learning_curves({"epoch": [1.0]}, tmp_path / "curves.png")


def test_a_single_epoch_and_a_single_prediction_are_drawn(tmp_path: Path) -> None:
    learning_curves({"epoch": [1.0], "loss": [2.0]}, tmp_path / "curves.png", "one epoch")
    reliability({"student": [(0.9, 1.0, 1)]}, tmp_path / "reliability.png")
    pareto(["m"], ["student"], [0.9], [3.0], [0.0], tmp_path / "pareto.png")
    assert len(list(tmp_path.iterdir())) == 3


def test_names_are_shortened_and_start_no_formula() -> None:
    assert plain_text("a  $b$\nc") == r"a \$b\$ c"
    assert len(plain_text("x" * 100)) == 28
