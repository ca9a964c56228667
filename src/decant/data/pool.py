"""Work in threads, in order and with bounded memory, and items in batches."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def parallel(work: Callable[[In], Out], items: Iterable[In], workers: int = 2, ahead: int = 64) -> Iterator[Out]:
    """Map in threads, in order, with at most `ahead` items in flight. Pillow decodes outside the GIL."""
    iterator = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        futures = deque(pool.submit(work, item) for item in islice(iterator, ahead))
        while futures:
            yield futures.popleft().result()
            futures.extend(pool.submit(work, item) for item in islice(iterator, 1))


def batched(items: Iterable[In], size: int) -> Iterator[list[In]]:
    """Lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
