"""The thread pool: results in order, a bounded number of items in flight."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decant.data.pool import parallel


@settings(max_examples=20)
@given(st.integers(0, 30), st.integers(1, 4), st.integers(1, 10))
def test_parallel_returns_every_result_in_order(count, workers, ahead):
    assert list(parallel(lambda n: n * n, iter(range(count)), workers, ahead)) == [n * n for n in range(count)]


def test_parallel_holds_no_more_items_than_ahead():
    taken = []
    results = parallel(lambda n: n, (taken.append(n) or n for n in range(1000)), workers=2, ahead=5)
    assert next(results) == 0 and len(taken) <= 6
    results.close()


def test_parallel_runs_two_items_at_once():
    both = threading.Barrier(2, timeout=30)  # raises if the items run one after the other
    assert len(list(parallel(lambda _: both.wait(), range(2), workers=2))) == 2


def test_an_error_in_a_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(parallel(lambda n: 1 // n, [1, 0, 1]))
