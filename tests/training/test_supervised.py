"""The supervised loss against the papers' formulas in NumPy float64."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.utils.class_weight import compute_class_weight

from decant.data.pixels import PixelCache
from decant.data.views import ViewSet
from decant.study import Training, Views
from decant.training.supervised import class_factors, equal_class_probability, supervised_loss, view_targets

K = 3


def settings(smoothing: float, balance: float) -> Training:
    return Training(label_smoothing=smoothing, balance=balance)


def oracle(
    logits: np.ndarray,
    rows: np.ndarray,
    view: int,
    views: ViewSet,
    targets: np.ndarray,
    weight: np.ndarray,
    smoothing: float,
    balance: float,
) -> float:
    """sum_i w_i f_{y_i} CE_i / sum_i w_i f_{y_i}, one image at a time."""
    drawn = views.draw(rows, view)
    counts = [int((targets == k).sum()) for k in range(K)]
    total, norm = 0.0, 0.0
    for i, row in enumerate(rows):
        soft = np.zeros(K)
        share = float(drawn.share[i])
        soft[targets[row]] += share
        if drawn.partner[i] >= 0:
            soft[targets[drawn.partner[i]]] += 1 - share
        soft = (1 - smoothing) * soft + smoothing / K
        factor = weight[row] * (np.mean(counts) / counts[targets[row]]) ** balance
        total += factor * -float(soft @ log_softmax(logits[i].astype(np.float64)))
        norm += factor
    return total / norm


@pytest.fixture
def uneven(targets: np.ndarray) -> np.ndarray:
    """Targets with classes of 12, 7 and 5 images."""
    changed = targets.copy()
    changed[np.flatnonzero(changed == 1)[:1]] = 0
    changed[np.flatnonzero(changed == 2)[:3]] = 0
    return changed


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mix", [0.0, 0.6])
def test_the_loss_equals_the_papers_formula(
    cache: PixelCache, uneven: np.ndarray, smoothing: float, balance: float, mix: float
) -> None:
    generator = np.random.default_rng(0)
    weight = generator.uniform(0.2, 2.0, len(cache))
    views = ViewSet.of(cache, Views(mix=mix), 3, np.arange(len(cache)))
    criterion = supervised_loss(views, uneven, weight, K, settings(smoothing, balance))
    rows = generator.permutation(len(cache))[:10]
    logits = (generator.normal(size=(10, K)) * 3).astype(np.float32)
    if mix:
        assert (views.draw(rows, 4).partner >= 0).any()
    loss = criterion(torch.from_numpy(logits), rows, 4).item()
    assert loss == pytest.approx(oracle(logits, rows, 4, views, uneven, weight, smoothing, balance), rel=1e-5)


def test_equal_weights_and_no_mixing_give_torchs_cross_entropy(cache: PixelCache, targets: np.ndarray) -> None:
    views = ViewSet.of(cache, Views(), 3, np.arange(len(cache)))
    criterion = supervised_loss(views, targets, np.ones(len(cache)), K, settings(0.1, 0.0))
    rows = np.arange(0, len(cache), 3)
    logits = torch.randn(len(rows), K, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets[rows]), label_smoothing=0.1)
    torch.testing.assert_close(criterion(logits, rows, 0), expected)


def test_permuted_classes_change_the_loss(cache: PixelCache, targets: np.ndarray) -> None:
    views = ViewSet.of(cache, Views(), 3, np.arange(len(cache)))
    rows = np.arange(len(cache))
    right = 8.0 * torch.nn.functional.one_hot(torch.from_numpy(targets), K).float()
    loss = supervised_loss(views, targets, np.ones(len(cache)), K, settings(0.0, 0.0))(right, rows, 0)
    permuted = supervised_loss(views, (targets + 1) % K, np.ones(len(cache)), K, settings(0.0, 0.0))(right, rows, 0)
    assert loss < 0.01 and permuted > 5


def test_an_image_of_weight_zero_gets_no_gradient(cache: PixelCache, targets: np.ndarray) -> None:
    views = ViewSet.of(cache, Views(), 3, np.arange(len(cache)))
    weight = np.ones(len(cache))
    weight[5] = 0
    logits = torch.randn(3, K, generator=torch.Generator().manual_seed(0), requires_grad=True)
    supervised_loss(views, targets, weight, K, settings(0.1, 0.5))(logits, np.array([4, 5, 6]), 0).backward()
    assert logits.grad is not None
    assert (logits.grad[1] == 0).all() and (logits.grad[[0, 2]] != 0).all()


def test_unlabelled_images_do_not_change_the_loss_of_labelled_images(cache: PixelCache, targets: np.ndarray) -> None:
    views = ViewSet.of(cache, Views(), 3, np.arange(len(cache)))
    partial = targets.copy()
    partial[20:] = -1
    rows = np.arange(0, 20)
    logits = torch.randn(20, K, generator=torch.Generator().manual_seed(0))
    for unlabelled_weight in (0.0, 1.0):
        weight = np.where(partial >= 0, 1.0, unlabelled_weight)
        loss = supervised_loss(views, partial, weight, K, settings(0.1, 1.0))(logits, rows, 0).item()
        assert loss == pytest.approx(oracle(logits.numpy(), rows, 0, views, partial, weight, 0.1, 1.0), rel=1e-5)


def test_training_on_a_row_without_a_label_is_refused(cache: PixelCache, targets: np.ndarray) -> None:
    # Without an error, -1 would index the last class.
    views = ViewSet.of(cache, Views(), 3, np.arange(len(cache)))
    partial = targets.copy()
    partial[2] = -1
    criterion = supervised_loss(views, partial, np.ones(len(cache)), K, settings(0.1, 0.0))
    with pytest.raises(RuntimeError, match=r"non-negative|index"):
        criterion(torch.zeros(2, K), np.array([1, 2]), 0)


def test_mixed_targets_are_the_shares_of_the_two_images(cache: PixelCache, targets: np.ndarray) -> None:
    views = ViewSet.of(cache, Views(mix=1.0), 3, np.arange(len(cache)))
    rows = np.arange(len(cache))
    mixed = view_targets(views, targets, K, rows, 1).numpy()
    drawn = views.draw(rows, 1)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    for row in rows:
        own, other = targets[row], targets[drawn.partner[row]]
        expected = np.zeros(K)
        expected[own] += drawn.share[row]
        expected[other] += 1 - drawn.share[row]
        np.testing.assert_allclose(mixed[row], expected, atol=1e-6)
    assert mixed.argmax(axis=1).tolist() == targets.tolist()  # the image itself has the larger share


def test_balance_1_equals_scikit_learns_balanced_class_weight(uneven: np.ndarray) -> None:
    expected = compute_class_weight("balanced", classes=np.arange(K), y=uneven)
    np.testing.assert_allclose(class_factors(uneven, K, 1.0), expected)


def test_balance_one_half_is_the_square_root_and_balance_0_is_one(uneven: np.ndarray) -> None:
    np.testing.assert_allclose(class_factors(uneven, K, 0.5) ** 2, class_factors(uneven, K, 1.0))
    np.testing.assert_array_equal(class_factors(uneven, K, 0.0), np.ones(K))


def test_a_class_without_images_does_not_divide_by_zero() -> None:
    assert np.isfinite(class_factors(np.array([0, 0, 1, -1]), 4, 1.0)).all()


def test_adjusted_logits_give_the_papers_loss(cache: PixelCache, uneven: np.ndarray) -> None:
    views = ViewSet.of(cache, Views(), 3, np.arange(len(cache)))
    criterion = supervised_loss(views, uneven, np.ones(len(cache)), K, settings(0.0, 0.0), logit_adjustment=1.5)
    rows = np.arange(0, len(cache), 2)
    logits = np.random.default_rng(0).normal(size=(len(rows), K)).astype(np.float32)
    prior = np.bincount(uneven, minlength=K) / len(uneven)
    adjusted = log_softmax(logits + 1.5 * np.log(prior), axis=1)
    expected = -adjusted[np.arange(len(rows)), uneven[rows]].mean()
    assert criterion(torch.from_numpy(logits), rows, 0).item() == pytest.approx(expected, rel=1e-5)


def test_every_class_is_drawn_equally_often(uneven: np.ndarray) -> None:
    probability = equal_class_probability(uneven)
    assert probability.sum() == pytest.approx(1)
    assert [probability[uneven == k].sum() for k in range(K)] == pytest.approx([1 / K] * K)
