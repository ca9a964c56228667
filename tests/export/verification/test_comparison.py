"""Batching of images of equal shape: full batches, memory, thinning and fillers."""

import numpy as np
import pytest

from decant.export.verification import comparison
from decant.export.verification.comparison import Queue, Waiting, fillers, thinned


def queued(size: int, shapes: list[tuple[int, int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Indices of the images in full batches, and in the groups that remain."""
    queue = Queue(size)
    added = [queue.add(Waiting(n, np.zeros(shape, np.uint8), np.zeros(2), 0)) for n, shape in enumerate(shapes)]

    def indices(groups: list[list[Waiting]]) -> list[list[int]]:
        return [[waiting.index for waiting in group] for group in groups if group]

    return indices(added), indices(queue.rest())


def test_batches_contain_equal_shapes_and_every_full_batch_is_returned() -> None:
    full, rest = queued(7, [(4, 4, 3)] * 10 + [(5, 4, 3)] * 3 + [(4, 4, 3)] * 7)
    assert full == [list(range(7)), [7, 8, 9, 13, 14, 15, 16]]
    assert rest == [[10, 11, 12], [17, 18, 19]]
    full, rest = queued(32, [(n, 1, 3) for n in range(1, 1000)])
    assert full == [] and 8 <= len(rest) <= 16  # each gets 31 fillers


def test_waiting_images_use_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "WAITING_BYTES", 10 * 300)
    queue = Queue(32)
    for number in range(500):
        queue.add(Waiting(number, np.zeros((1, 100 if number % 2 else 101 + number, 3), np.uint8), np.zeros(2), 0))
        assert sum(waiting.image.nbytes for group in queue.groups.values() for waiting in group) == queue.bytes
        assert queue.bytes <= max(10 * 300, 32 * 300) + 3 * 700


def test_only_large_images_are_thinned_for_batches() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    assert thinned(image, 60_000) is image
    small = thinned(image, 20_000)
    np.testing.assert_array_equal(small, image[::2, ::2])
    assert small.base is None  # a view would keep the large image in memory


def test_fillers_differ_from_the_image_in_their_batch() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    surrounding = fillers(image, 6)
    assert surrounding.shape == (6, 6, 9, 3)
    assert all((other != image).any() for other in surrounding)
    assert fillers(image, 0).shape == (0, 6, 9, 3)
