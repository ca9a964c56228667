"""Images that wait are computed together; each gets its own answer."""

import gc
import threading
import time
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from decant.export.runtime import OnnxClassifier
from decant.serving.batching import MAX_BATCH_PIXELS, MAX_IMAGES, Batches, Waiting, take_batch
from decant.serving.deadline import Busy, Deadline


class Slow:
    """A classifier whose first call lasts until `go` is set; probabilities are the first pixel's channels."""

    dtype = "fp32"

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def predict_batch(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.batches.append(len(images))
        self.begun.set()
        assert self.go.wait(20)
        if (images[:, 0, 0, 0] == 255).any():
            raise ValueError("planted")
        values = images[:, 0, 0].astype(np.float32)
        return values, values


def image(value: int, width: int = 2) -> np.ndarray:
    return np.full((2, width, 3), value, np.uint8)


def test_images_that_wait_are_one_batch_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    slow: Any = Slow()
    batches = Batches(workers=1)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batches.predict, slow, [image(1)], Deadline(20))
        assert slow.begun.wait(20)
        others = [
            pool.submit(batches.predict, slow, [image(value, 2 + value % 2)], Deadline(20)) for value in range(2, 8)
        ]
        while batches.waiting < 6:
            threading.Event().wait(0.001)
        slow.go.set()
        answers = [future.result()[0][0] for future in (first, *others)]
    assert [int(answer[0]) for answer in answers] == list(range(1, 8))
    assert slow.batches[0] == 1 and sorted(slow.batches[1:]) == [3, 3]
    assert batches.sizes == {1: 1, 3: 2}


def waiting(classifier: Any, width: int = 2, value: int = 0) -> Waiting:
    return Waiting(classifier, image(value, width))


def test_a_batch_keeps_the_order_and_leaves_the_others_in_the_queue() -> None:
    one, other = Slow(), Slow()
    queue = deque([waiting(one, 2), waiting(one, 3), waiting(other, 2), waiting(one, 2), waiting(one, 3)])
    first, second, third, fourth, fifth = queue
    assert take_batch(queue) == [first, fourth]
    assert list(queue) == [second, third, fifth]
    assert take_batch(queue) == [second, fifth] and take_batch(queue) == [third] and not queue


def test_batches_are_bounded_in_images_and_pixels() -> None:
    slow: Any = Slow()
    queue = deque(waiting(slow) for _ in range(3 * MAX_IMAGES))
    assert len(take_batch(queue)) == MAX_IMAGES
    large = np.zeros((1000, MAX_BATCH_PIXELS // 2000, 3), np.uint8)
    assert len(take_batch(deque(Waiting(slow, large) for _ in range(5)))) == 2
    larger = np.zeros((1000, MAX_BATCH_PIXELS // 1000 + 1, 3), np.uint8)
    assert len(take_batch(deque(Waiting(slow, larger) for _ in range(5)))) == 1


def test_an_int8_file_predicts_images_alone() -> None:
    slow: Any = Slow()
    slow.dtype = "int8"
    assert len(take_batch(deque(waiting(slow) for _ in range(5)))) == 1


def test_an_error_reaches_those_of_its_batch_and_the_next_are_answered() -> None:
    slow: Any = Slow()
    slow.go.set()
    batches = Batches(workers=1)
    with pytest.raises(ValueError, match="planted"):
        batches.predict(slow, [image(255), image(1)], Deadline(20))
    assert int(batches.predict(slow, [image(7)], Deadline(20))[0][0][0]) == 7


def test_an_idle_thread_holds_no_image(classifier: OnnxClassifier) -> None:
    batches, last = Batches(workers=1), image(3)
    held = weakref.ref(last)
    batches.predict(classifier, [last], Deadline(20))
    del last
    ends = time.monotonic() + 5
    while held() is not None and time.monotonic() < ends:
        gc.collect()
        time.sleep(0.01)
    assert held() is None


def test_a_file_that_answers_too_few_images_fails_them_and_the_next_are_answered(classifier: OnnxClassifier) -> None:
    class Short:
        dtype = "fp32"

        def predict_batch(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)

    batches, short = Batches(workers=1), Short()
    with pytest.raises(ValueError):
        batches.predict(short, [image(1)], Deadline(20))  # type: ignore[arg-type]
    assert len(batches.predict(classifier, [image(1)], Deadline(20))) == 1


def test_who_waits_too_long_is_told_so_and_is_not_computed() -> None:
    slow: Any = Slow()
    batches = Batches(workers=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batches.predict, slow, [image(1)], Deadline(20))
        assert slow.begun.wait(20)
        with pytest.raises(Busy, match="try again"):
            batches.predict(slow, [image(2)], Deadline(0.01))
        slow.go.set()
        first.result()
        batches.predict(slow, [image(3)], Deadline(20))
    assert slow.batches == [1, 1]


def test_an_image_that_is_being_computed_at_the_deadline_is_waited_for() -> None:
    """Its memory is in use, so its share of the budget must not be given to others."""
    slow: Any = Slow()
    batches = Batches(workers=1)
    with ThreadPoolExecutor(2) as pool:
        alone = pool.submit(batches.predict, slow, [image(1)], Deadline(0.05))
        assert slow.begun.wait(20)
        with pytest.raises(Busy):
            batches.predict(slow, [image(2)], Deadline(0.1))  # its deadline is the later one
        assert not alone.done()
        slow.go.set()
        assert int(alone.result()[0][0][0]) == 1


def test_each_image_has_the_answer_that_it_has_alone(classifier: OnnxClassifier) -> None:
    images = [np.random.default_rng(n).integers(0, 256, (40 + n % 2, 50, 3), dtype=np.uint8) for n in range(12)]
    answers = Batches(workers=2).predict(classifier, images, Deadline(60))
    for given, (probabilities, logits) in zip(images, answers, strict=True):
        alone = classifier.predict(given)
        np.testing.assert_allclose(probabilities, alone[0], atol=1e-6)
        np.testing.assert_allclose(logits, alone[1], atol=1e-5)
