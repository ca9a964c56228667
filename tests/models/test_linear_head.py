"""The strength of a head: searched as by Radford et al. (2021, A.3), and the rows that it is fitted to."""

import numpy as np
import pytest

from decant.models import linear_head
from decant.models.linear_head import Tried, choose_probe, rows_to_fit, strengths, subsample
from decant.models.regressions import GivenHead, Regressions


def searched(peak: float, plateau: float = 0.0) -> list[float]:
    """The exponents that are tried where the metric falls with the distance from `peak`, on a plateau around it."""
    tried: dict[float, Tried] = {}
    for exponent in strengths(tried):
        away = max(0.0, abs(exponent - peak) - plateau)
        tried[exponent] = Tried(np.zeros(1), {}, (-away, -abs(exponent - peak)))
    return list(tried)


@pytest.mark.parametrize("peak", [-6.0, -3.3, -1.1, 0.4, 2.0, 5.9])
def test_the_best_strength_is_found_to_an_eighth_of_a_decade(peak: float) -> None:
    exponents = searched(peak)
    assert min(abs(exponent - peak) for exponent in exponents) <= 1 / 8
    assert all(-6 <= exponent <= 6 for exponent in exponents)
    assert len(exponents) <= 7 + 2 * 4


def test_the_first_strengths_are_two_decades_apart_from_strong_to_weak() -> None:
    assert searched(6.0)[:7] == [-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0]


def test_the_sweep_ends_after_two_strengths_that_are_worse_in_metric_and_likelihood() -> None:
    assert searched(-4.0)[:4] == [-6.0, -4.0, -2.0, 0.0] and 2.0 not in searched(-4.0)


def test_the_sweep_goes_on_while_the_likelihood_grows() -> None:
    tried: dict[float, Tried] = {}
    for exponent in strengths(tried):
        tried[exponent] = Tried(np.zeros(1), {}, (-exponent, exponent))  # the metric falls by chance
    assert {2.0, 4.0, 6.0} <= set(tried)


def clusters(seed: int, each: int = 15) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(4), each)
    return (np.eye(4, 8)[targets] + generator.normal(size=(len(targets), 8))).astype(np.float32), targets


def test_the_probe_is_that_of_the_row_with_the_best_val_scores() -> None:
    features, targets = clusters(0)
    val_features, val_targets = clusters(1, each=100)
    regressions = Regressions(features, targets, np.ones(len(targets)), 4)
    probe, rows = choose_probe(regressions, val_features, val_targets, "accuracy")
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_nll"]))
    assert probe.strength == best["strength"]
    assert (probe.logits(val_features).argmax(axis=1) == val_targets).mean() == pytest.approx(best["val_accuracy"])
    assert [row["strength"] for row in rows] == sorted(row["strength"] for row in rows)


def test_a_given_head_is_tried_and_no_worse_fit_is_taken() -> None:
    features, targets = clusters(0, each=3)
    val_features, val_targets = clusters(1, each=100)
    given = GivenHead(np.eye(4, 8), np.zeros(4))  # the true one for these clusters
    regressions = Regressions(features, (targets + 1) % 4, np.ones(len(features)), 4, given)
    probe, rows = choose_probe(regressions, val_features, val_targets, "accuracy")
    by_strength = {row["strength"]: (row["val_accuracy"], -row["val_nll"]) for row in rows}
    assert by_strength[probe.strength] == max(by_strength.values()) >= by_strength[0]
    assert probe.strength < 1  # a weak regularisation would fit the wrong labels
    np.testing.assert_allclose(regressions.fitted(0).folded()[0].numpy(), given.weight, atol=1e-5)


def test_many_classes_are_fitted_to_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_head, "MAX_ROWS", 50)
    targets = np.arange(400) % 8
    assert len(rows_to_fit(np.arange(400), targets, 2, seed=0)) == 50
    assert len(rows_to_fit(np.arange(400), targets, 8, seed=0)) == 80


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
