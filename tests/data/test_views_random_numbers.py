"""Random numbers of views: Philox4x32-10, and uniforms that depend on seed, content and view number alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decant.data.views import philox4x32, uniforms, view_keys


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_returns_the_known_answers_of_random123(counter, key, answer):
    words = [np.array([int(word, 16) for word in text.split()], dtype=np.uint32) for text in (counter, key)]
    assert " ".join(f"{word:08x}" for word in philox4x32(*words)) == answer


def philox_in_plain_integers(counter, key):
    """Salmon et al. (2011), section 3.3, without NumPy."""
    left, right = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * left[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * left[2], 2**32)
        left = [high1 ^ left[1] ^ right[0], low1, high0 ^ left[3] ^ right[1], low0]
        right = [(right[0] + 0x9E3779B9) % 2**32, (right[1] + 0xBB67AE85) % 2**32]
    return left


word = st.integers(0, 2**32 - 1)


@settings(max_examples=50)
@given(st.lists(st.tuples(*[word] * 6), min_size=1, max_size=4))
def test_philox_in_batches_equals_philox_in_plain_integers(drawn):
    table = np.array(drawn, dtype=np.uint32)
    expected = [philox_in_plain_integers(row[:4], row[4:]) for row in drawn]
    assert philox4x32(table[:, :4], table[:, 4:]).tolist() == expected


def test_uniforms_lie_inside_0_and_1_and_are_uniform():
    drawn = np.concatenate([uniforms(view_keys(3, [str(n) for n in range(500)]), view) for view in range(4)])
    assert drawn.min() > 0 and drawn.max() < 1
    n = len(drawn)  # each column on its own: mean 1/2, variance 1/12, to five standard errors
    assert np.abs(drawn.mean(axis=0) - 1 / 2).max() < 5 * np.sqrt(1 / 12 / n)
    assert np.abs(drawn.var(axis=0) - 1 / 12).max() < 5 * np.sqrt(1 / 180 / n)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(drawn.shape[1])).max() < 6 / np.sqrt(n)


def test_extreme_words_still_give_uniforms_inside_0_and_1(monkeypatch):
    for value in (0, 2**32 - 1):
        monkeypatch.setattr("decant.data.views.philox4x32", lambda c, k, v=value: np.full(c.shape, v, dtype=np.uint32))
        drawn = uniforms(view_keys(0, ["a"]), 0)
        assert drawn.min() > 0 and drawn.max() < 1


def test_the_numbers_differ_for_every_seed_content_and_view_number():
    drawn = [
        uniforms(view_keys(seed, [content]), view)
        for seed in (0, 1, 10)
        for content in ("a", "b", "0:a")
        for view in (0, 1, 2**32 - 1)
    ]
    assert len(np.unique(np.concatenate(drawn))) == np.concatenate(drawn).size
