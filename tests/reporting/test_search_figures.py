"""The figures of a search open, and show what they are given."""

from pathlib import Path

import numpy as np
from PIL import Image

from decant.reporting.search_figures import Point, importance_bars, search_history

POINTS = [Point(0, 0.80, True), Point(1, 0.35, False), Point(2, 0.84, True), Point(3, 0.82, True)]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(int)


def test_the_same_search_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        search_history(POINTS, "accuracy", 0.01, tmp_path / f"{name}.png", "study_x, teacher $a_b")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_pruned_trial_is_visible_even_far_below_the_others(tmp_path: Path) -> None:
    search_history(POINTS, "accuracy", 0.01, tmp_path / "with.png")
    search_history([point for point in POINTS if point.finished], "accuracy", 0.01, tmp_path / "without.png")
    assert np.abs(pixels(tmp_path / "with.png") - pixels(tmp_path / "without.png")).max() > 80


def test_one_finished_trial_and_other_metrics_are_drawn(tmp_path: Path) -> None:
    search_history([Point(2, 0.5, True)], "f1_macro", None, tmp_path / "one.png")
    importance_bars({"views.mix": 0.9, "drop_path": 0.1, "head": 0.0}, "f1_macro", tmp_path / "bars.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_order_of_the_keys_does_not_change_the_figure(tmp_path: Path) -> None:
    importance_bars({"a": 0.9, "b": 0.1}, "accuracy", tmp_path / "first.png")
    importance_bars({"b": 0.1, "a": 0.9}, "accuracy", tmp_path / "second.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
