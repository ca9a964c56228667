"""The subsample of rows to which a head is fitted."""

import numpy as np
import pytest

from decant.models.linear_head import subsample


def test_a_subsample_keeps_the_order_and_the_share_of_every_class() -> None:
    targets = np.repeat([0, 1, 2], [900, 97, 3])
    rows = np.arange(1000) * 2
    taken = subsample(rows, targets, 100, seed=0)
    counts = np.bincount(targets[taken // 2], minlength=3)
    assert len(taken) == len(set(taken)) == 100 and (np.diff(taken) > 0).all()
    assert counts[0] == pytest.approx(90, abs=2) and counts[1] == pytest.approx(10, abs=2) and counts[2] >= 1
    assert (
        taken.tolist()
        == subsample(rows, targets, 100, seed=0).tolist()
        != subsample(rows, targets, 100, seed=1).tolist()
    )
    assert subsample(rows, targets, 1000, seed=0) is rows
