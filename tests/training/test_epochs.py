"""The order of the images in each epoch, and the seed of each step."""

from itertools import pairwise

import numpy as np
import pytest

from decant.training.loop import epoch_rows, step_seed


def test_every_step_has_its_own_seed() -> None:
    seeds = [step_seed(seed, step) for seed in range(3) for step in range(200)]
    assert len(set(seeds)) == len(seeds)


def test_an_epoch_uses_no_image_twice_and_leaves_out_an_incomplete_last_batch() -> None:
    rows = np.arange(100, 150)
    for epoch in range(3):
        batches = epoch_rows(rows, 16, seed=1, epoch=epoch)
        assert [len(batch) for batch in batches] == [16, 16, 16]
        assert len(set(np.concatenate(batches)) & set(rows)) == 48


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    (batch,) = epoch_rows(np.arange(5), 16, seed=1, epoch=0)
    assert sorted(batch) == [0, 1, 2, 3, 4]


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_rows(np.arange(64), 16, seed, epoch)).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) and order(1, 2) != order(2, 2)


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_the_orders_of_successive_epochs_are_independent(seed: int) -> None:
    # Counters that differ by one share most of their random numbers: the same images would share a batch every epoch.
    count, size = 1000, 16
    positions = [np.argsort(np.concatenate(epoch_rows(np.arange(count), count, seed, epoch))) for epoch in range(12)]
    correlations = [np.corrcoef(now, later)[0, 1] for now, later in pairwise(positions)]
    assert abs(np.mean(correlations)) < 0.05  # 11 pairs of 1,000 positions: standard error 0.01
    batches = [position // size for position in positions]
    together_again = [
        np.mean((later[:, None] == later[None])[(now[:, None] == now[None]) & ~np.eye(count, dtype=bool)])
        for now, later in pairwise(batches)
    ]
    assert np.mean(together_again) < 2 * size / count


def test_rows_are_drawn_as_often_as_their_probability_says() -> None:
    rows, probability = np.arange(10, 14), np.array([0.1, 0.2, 0.3, 0.4])
    drawn = [np.concatenate(epoch_rows(rows, 4, 1, epoch, probability)) for epoch in range(2000)]
    counts = np.bincount(np.concatenate(drawn), minlength=14)[10:] / 8000
    np.testing.assert_allclose(counts, probability, atol=0.02)
