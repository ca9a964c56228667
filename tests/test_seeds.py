"""Every purpose has a stream of its own, the same on every machine."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decant.seeds import derived_seed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0,), b"0"),
        ((7, "split"), b"7/split"),
        ((7, "teacher", 3), b"7/teacher/3"),
        ((1, "Straße"), "1/Straße".encode()),
    ],
)
def test_a_seed_is_the_first_four_bytes_of_a_sha256_so_that_no_machine_differs(arguments, text):
    first = hashlib.sha256(text).hexdigest()[:8]
    assert derived_seed(*arguments) == int("".join(first[i : i + 2] for i in (6, 4, 2, 0)), 16)


@given(st.integers(0, 2**63), st.lists(st.text(max_size=5) | st.integers(0, 99), max_size=3))
def test_every_seed_fits_numpy_and_torch(seed, purpose):
    assert 0 <= derived_seed(seed, *purpose) < 2**32


def test_no_two_purposes_of_a_study_and_no_two_studies_share_a_seed():
    asked = [
        (seed, part, number) for seed in range(20) for part in ("split", "views", "teacher") for number in range(20)
    ]
    assert len({derived_seed(*one) for one in asked}) == len(asked)
