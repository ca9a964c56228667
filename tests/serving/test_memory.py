"""The memory of images in flight is bounded, also that of images with odd sides."""

import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from decant.serving.deadline import Busy, Deadline
from decant.serving.memory import Budget, counted_pixels


def file_with(**preprocessing: Any) -> Any:
    return SimpleNamespace(metadata={"preprocessing": json.dumps(preprocessing)})


@pytest.mark.parametrize(
    ("fit", "input_px", "height", "width", "counted"),
    [
        ("crop", 128, 100, 20_000, 2_000_000),
        ("stretch", 128, 100, 20_000, 400_000_000),
        ("stretch", 128, 20_000, 100, 2_560_000),
        ("stretch", [96, 176], 100_000, 1, 17_600_000),
        ("stretch", [96, 176], 3000, 4000, 12_000_000),
        ("stretch", [96, 48], 1000, 1000, 2_000_000),
        ("pad", 128, 3000, 4000, 16_000_000),
    ],
)
def test_images_wider_than_the_input_count_more(fit: str, input_px: Any, height: int, width: int, counted: int) -> None:
    assert counted_pixels(file_with(fit=fit, input_px=input_px), height, width) == counted


@pytest.mark.parametrize("text", ["{}", "[]", '{"fit": "pad"}', '{"fit": "pad", "input_px": "x"}', "no json"])
def test_a_file_that_does_not_tell_its_input_is_taken_as_square(text: str) -> None:
    counted = counted_pixels(SimpleNamespace(metadata={"preprocessing": text}), 100, 20_000)  # type: ignore[arg-type]
    assert counted == (2_000_000 if text == "{}" else 400_000_000)  # the oldest files crop


def test_the_budget_bounds_what_is_in_use_at_once() -> None:
    budget, now, most = Budget(10), 0, 0
    lock = threading.Lock()

    def take() -> None:
        nonlocal now, most
        with budget.reserved(4, Deadline(30)):
            with lock:
                now += 4
                most = max(most, now)
            threading.Event().wait(0.01)
            with lock:
                now -= 4

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 8


def test_who_waits_too_long_for_the_budget_is_told_so() -> None:
    budget = Budget(10)
    with budget.reserved(10, Deadline(1)), pytest.raises(Busy, match="try again"), budget.reserved(1, Deadline(0.01)):
        pass


def test_nothing_is_reserved_after_the_deadline() -> None:
    late = Deadline(1, begun=time.monotonic() - 2)
    with pytest.raises(Busy, match="within 1 s"), Budget(10).reserved(1, late):
        pass
