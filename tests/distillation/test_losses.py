"""Distillation losses against the papers' equations in NumPy float64, with SciPy's softmax and relative entropy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import pearsonr

from decant.distillation.losses import (
    SOFT_LOSSES,
    dist_loss,
    dkd_loss,
    jensen_shannon_loss,
    kd_loss,
    soft_cross_entropy,
    standardise_logits,
)

B, K = 6, 7


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Student logits, teacher logits, targets (two of them -1, no label), sample weights."""
    random = np.random.default_rng(0)
    student, teacher = 2 * random.standard_normal((2, B, K))
    targets = random.integers(0, K, B)
    targets[[1, 4]] = -1
    return student, teacher, targets, random.uniform(0.2, 2, B)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def hinton(student: np.ndarray, teacher: np.ndarray, t: float) -> np.ndarray:
    p, q = softmax(teacher / t, axis=1), softmax(student / t, axis=1)
    return t**2 * rel_entr(p, q).sum(axis=1)


def zhao(student: np.ndarray, teacher: np.ndarray, targets: np.ndarray, t: float, alpha: float, beta: float):
    rows = []
    for z, v, y in zip(student, teacher, targets, strict=True):
        p, q = softmax(v / t), softmax(z / t)
        others = np.arange(len(p)) != y
        tckd = rel_entr([p[y], 1 - p[y]], [q[y], 1 - q[y]]).sum()
        nckd = rel_entr(p[others] / p[others].sum(), q[others] / q[others].sum()).sum()
        rows.append(t**2 * (alpha * tckd + beta * nckd))
    return np.array(rows)


def mixed(student, targets, soft, hard_weight, weights) -> float:
    total = mass = 0.0
    for z, y, row, w in zip(student, targets, soft, weights, strict=True):
        if y >= 0:
            total += w * (hard_weight * -log_softmax(z)[y] + (1 - hard_weight) * row)
            mass += w
        elif hard_weight < 1:
            total += w * row
            mass += w
    return total / mass


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("hard_weight", [0.0, 0.3, 1.0])
def test_kd_equals_hintons_equation_with_unlabelled_rows_and_weights(batch, hard_weight, temperature):
    student, teacher, targets, weights = batch
    z, p, y, w = tensors(student, softmax(teacher, axis=1), targets, weights)
    expected = mixed(student, targets, hinton(student, teacher, temperature), hard_weight, weights)
    assert kd_loss(z, p, y, hard_weight, temperature, w).item() == pytest.approx(expected, rel=1e-9)


def test_kd_equals_a_case_worked_by_hand():
    # p = (3/4, 1/4), q = (1/2, 1/2), T = 1: KL = 3/4 log 3/2 + 1/4 log 1/2; CE of class 1 = log 2.
    z, p = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]])
    kl, ce = 0.75 * np.log(1.5) + 0.25 * np.log(0.5), np.log(2)
    assert kd_loss(z, p).item() == pytest.approx(kl, rel=1e-6)
    mixed_loss = kd_loss(z, p, torch.tensor([1]), hard_weight=0.25)
    assert mixed_loss.item() == pytest.approx(0.25 * ce + 0.75 * kl, rel=1e-6)
    # T = 2: p_T is (sqrt 3, 1) / (sqrt 3 + 1), and the KL is multiplied by T^2 = 4.
    a = np.sqrt(3) / (np.sqrt(3) + 1)
    kl_2 = a * np.log(2 * a) + (1 - a) * np.log(2 * (1 - a))
    assert kd_loss(z, p, temperature=2.0).item() == pytest.approx(4 * kl_2, rel=1e-5)


def test_kd_is_not_the_reversed_kl(batch):
    student, teacher, *_ = batch
    z, p = tensors(student, softmax(teacher, axis=1))
    reversed_kl = hinton(teacher, student, 2.0).mean()
    assert abs(kd_loss(z, p, temperature=2.0).item() - reversed_kl) > 0.1


def test_the_gradient_of_kd_is_t_times_the_difference_of_the_softened_probabilities(batch):
    student, teacher, *_ = batch
    for t in (1.0, 4.0):
        z, p = tensors(student, softmax(teacher, axis=1))
        z.requires_grad_()
        kd_loss(z, p, temperature=t).backward()
        expected = t * (softmax(student / t, axis=1) - softmax(teacher / t, axis=1)) / B
        np.testing.assert_allclose(z.grad.numpy(), expected, atol=1e-12)


def test_soft_cross_entropy_has_the_gradient_of_kd_and_adds_the_teachers_entropy(batch):
    student, teacher, _, weights = batch
    p = softmax(teacher, axis=1)
    expected = -(weights * (p * log_softmax(student, axis=1)).sum(axis=1)).sum() / weights.sum()
    a, b = (torch.from_numpy(student.copy()).requires_grad_() for _ in range(2))
    loss = soft_cross_entropy(a, torch.from_numpy(p), weights=torch.from_numpy(weights))
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    loss.backward()
    kd_loss(b, torch.from_numpy(p), weights=torch.from_numpy(weights)).backward()
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_jensen_shannon_is_scipys_and_is_symmetric(batch, temperature):
    student, teacher, targets, weights = batch
    a, b = (softmax(logits / temperature, axis=1) for logits in (student, teacher))
    z, p, y, w = tensors(student, softmax(teacher, axis=1), targets, weights)
    expected = mixed(student, targets, temperature**2 * jensenshannon(a, b, axis=1) ** 2, 0.4, weights)
    assert jensen_shannon_loss(z, p, y, 0.4, temperature, w).item() == pytest.approx(expected, rel=1e-9)
    swapped = jensen_shannon_loss(*tensors(teacher, softmax(student, axis=1)), temperature=temperature)
    assert swapped.item() == pytest.approx(jensen_shannon_loss(z, p, temperature=temperature).item(), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_equals_zhaos_equation_with_the_teachers_top_class_for_unlabelled_rows(batch, temperature):
    student, teacher, targets, weights = batch
    z, p, y, w = tensors(student, softmax(teacher, axis=1), targets, weights)
    target_class = np.where(targets >= 0, targets, teacher.argmax(axis=1))
    expected = mixed(student, targets, zhao(student, teacher, target_class, temperature, 1.0, 8.0), 0.4, weights)
    assert dkd_loss(z, p, y, 0.4, temperature, w).item() == pytest.approx(expected, rel=1e-9)


def test_dkd_with_beta_1_minus_p_equals_kd(batch):
    student, teacher, *_ = batch
    for row in range(B):
        z, p = tensors(student[row : row + 1], softmax(teacher[row : row + 1], axis=1))
        target = torch.tensor([2])
        decoupled = dkd_loss(z, p, target, 0.0, 1.0, other_weight=1 - p[0, 2].item())
        assert decoupled.item() == pytest.approx(kd_loss(z, p).item(), rel=1e-9)


def test_dist_is_one_minus_pearson_over_rows_and_over_columns(batch):
    student, teacher, *_ = batch
    t = 2.0
    p, q = softmax(teacher / t, axis=1), softmax(student / t, axis=1)
    between = np.mean([1 - pearsonr(a, b)[0] for a, b in zip(p, q, strict=True)])
    within = np.mean([1 - pearsonr(a, b)[0] for a, b in zip(p.T, q.T, strict=True)])
    z, teacher_p = tensors(student, softmax(teacher, axis=1))
    loss = dist_loss(z, teacher_p, temperature=t, between_classes=2.0, within_class=3.0)
    assert loss.item() == pytest.approx(t**2 * (2 * between + 3 * within), rel=1e-5)


def test_dist_with_integer_weights_equals_dist_with_repeated_rows(batch):
    student, teacher, targets, _ = batch
    times = np.array([1, 2, 3, 1, 2, 1])
    repeated = [np.repeat(array, times, axis=0) for array in (student, softmax(teacher, axis=1), targets)]
    z, p, y, w = tensors(student, softmax(teacher, axis=1), targets, times.astype(float))
    assert dist_loss(z, p, y, 0.3, 1.0, w).item() == pytest.approx(
        dist_loss(*tensors(*repeated), 0.3, 1.0).item(), rel=1e-6
    )


def test_dist_ignores_shift_and_scale_of_the_probabilities():
    q = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], dtype=torch.float64)
    flatter = 0.4 * q + 0.6 / 3
    assert dist_loss(flatter.log(), q).item() == pytest.approx(0, abs=1e-5)


def test_standardised_logits_equal_the_formula_and_ignore_shift_and_scale(batch):
    student, teacher, *_ = batch
    (z,) = tensors(student)
    expected = (student - student.mean(axis=1, keepdims=True)) / student.std(axis=1, keepdims=True)
    np.testing.assert_allclose(standardise_logits(z).numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(standardise_logits(z * 3 + 5).numpy(), expected, rtol=1e-9)
    (p,) = tensors(softmax(teacher, axis=1))
    standard = (teacher - teacher.mean(axis=1, keepdims=True)) / teacher.std(axis=1, keepdims=True)
    loss = kd_loss(z, p, temperature=2.0, standardise=True)
    assert loss.item() == pytest.approx(hinton(expected, standard, 2.0).mean(), rel=1e-6)


every_loss = pytest.mark.parametrize("loss", SOFT_LOSSES.values(), ids=SOFT_LOSSES.keys())


@every_loss
def test_a_student_equal_to_its_teacher_has_the_least_loss(loss, batch):
    _, teacher, targets, _ = batch
    v, p, y = tensors(teacher, softmax(teacher, axis=1), targets)
    entropy = -(p * p.log()).sum(dim=1).mean().item()
    least = entropy if loss is soft_cross_entropy else 0
    assert loss(v, p, y).item() == pytest.approx(least, abs=1e-6)


@every_loss
def test_permuted_classes_give_a_large_loss(loss, batch):
    _, teacher, *_ = batch
    p, permuted = tensors(softmax(teacher, axis=1), softmax(np.roll(teacher, 1, axis=1), axis=1))
    assert loss(p.log(), permuted).item() > loss(p.log(), p).item() + 0.3


@every_loss
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_every_loss_can_compare_standardised_logits(loss, batch, temperature):
    student, teacher, *_ = batch
    z, p = tensors(student, softmax(teacher, axis=1))
    found = loss(z, p, temperature=temperature, standardise=True)
    apart = loss(standardise_logits(z), standardise_logits(p.log()).softmax(dim=1), temperature=temperature)
    assert found.item() == pytest.approx(apart.item(), rel=1e-9)


@every_loss
def test_logits_and_log_probabilities_in_place_of_probabilities_are_refused(loss, batch):
    student, teacher, *_ = batch
    for wrong in (teacher, np.abs(teacher), log_softmax(teacher, axis=1), softmax(teacher, axis=0)):
        with pytest.raises(ValueError, match="not probabilities"):
            loss(*tensors(student, wrong))
    with pytest.raises(ValueError):
        loss(*tensors(student, softmax(teacher[:, :-1], axis=1)))


@every_loss
def test_a_batch_repeated_twice_gives_the_same_loss(loss, batch):
    z, p, y, w = tensors(*(batch[0], softmax(batch[1], axis=1), *batch[2:]))
    once = loss(z, p, y, 0.3, 2.0, w)
    twice = loss(*(torch.cat([x, x]) for x in (z, p, y)), 0.3, 2.0, torch.cat([w, w]))
    assert twice.item() == pytest.approx(once.item(), rel=1e-6)


@pytest.mark.parametrize("loss", [kd_loss, dkd_loss, soft_cross_entropy, jensen_shannon_loss])
def test_classes_of_probability_0_do_not_change_the_loss(loss):
    """A loss that is divided by the number of classes would be smaller for 100 classes than for 3."""
    z, p = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.2, 0.5, 0.3]])
    more_z, more_p = torch.full((1, 100), -60.0), torch.zeros(1, 100)
    more_z[:, :3], more_p[:, :3] = z, p
    y = torch.tensor([1])
    assert loss(more_z, more_p, y, 0.3, 1.0).item() == pytest.approx(loss(z, p, y, 0.3, 1.0).item(), rel=1e-5)


@every_loss
def test_mixed_labels_are_weighted_by_their_shares(loss, batch):
    student, teacher, *_ = batch
    z, p = tensors(student, softmax(teacher, axis=1))
    shares = torch.zeros(B, K, dtype=torch.float64)
    shares[:, 1], shares[:, 3] = 0.7, 0.3
    shares[2] = 0  # no label
    labelled = torch.full((B,), 1)
    labelled[2] = -1
    labels_1, labels_3 = (torch.where(labelled == 1, label, -1) for label in (1, 3))
    if loss is dkd_loss:  # decoupled at the class with the larger share
        hard = 0.7 * mean_cross_entropy(student, 1) + 0.3 * mean_cross_entropy(student, 3)
        expected = loss(z, p, labels_1, 0.4, 1.0).item() + 0.4 * (hard - mean_cross_entropy(student, 1))
    else:
        expected = 0.7 * loss(z, p, labels_1, 0.4, 1.0).item() + 0.3 * loss(z, p, labels_3, 0.4, 1.0).item()
    assert loss(z, p, shares, 0.4, 1.0).item() == pytest.approx(expected, rel=1e-9)


def mean_cross_entropy(student: np.ndarray, label: int) -> float:
    """The sum over the rows except row 2, divided by B."""
    return float(-log_softmax(student, axis=1)[np.arange(B) != 2, label].sum() / B)


@every_loss
def test_without_labels_the_loss_is_the_soft_term(loss, batch):
    z, p = tensors(batch[0], softmax(batch[1], axis=1))
    unlabelled = torch.full((B,), -1)
    assert loss(z, p, unlabelled, 0.7).item() == loss(z, p, None, 0.7).item() == loss(z, p, None, 0.0).item()
    assert loss(z, p, unlabelled, 1.0).item() == 0


@every_loss
@pytest.mark.parametrize("hard_weight", [-0.1, 1.1])
def test_a_hard_weight_outside_0_to_1_is_refused(loss, batch, hard_weight):
    with pytest.raises(ValueError, match="hard_weight"):
        loss(*tensors(batch[0], softmax(batch[1], axis=1), batch[2]), hard_weight)


extreme_rows = st.lists(st.sampled_from([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]), min_size=3, max_size=3)


@every_loss
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(extreme_rows, extreme_rows, st.integers(-1, 2)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.5, 1.0, 4.0]),
    st.sampled_from([0.0, 1.0, None]),
)
def test_losses_and_gradients_are_finite_and_the_teacher_gets_no_gradient(loss, rows, hard_weight, temperature, weight):
    z = torch.tensor([z for z, _, _ in rows], requires_grad=True)
    p = torch.tensor([v for _, v, _ in rows]).softmax(dim=1).requires_grad_()  # many exact zeros and ones
    y = torch.tensor([y for _, _, y in rows])
    w = None if weight is None else torch.full((len(rows),), weight)
    value = loss(z, p, y, hard_weight, temperature, w)
    value.backward()
    assert torch.isfinite(value) and value >= -1e-5 and torch.isfinite(z.grad).all()
    assert p.grad is None
    if weight == 0:
        assert value == 0 and not z.grad.any()


def test_half_precision_logits_are_converted_to_float32(batch):
    z, p = (x.float() for x in tensors(batch[0], softmax(batch[1], axis=1)))
    for dtype in (torch.bfloat16, torch.float16):
        loss = kd_loss(z.to(dtype), p, temperature=4.0)
        assert loss.dtype == torch.float32
        assert loss.item() == kd_loss(z.to(dtype).float(), p, temperature=4.0).item()


def test_standardising_a_constant_row_keeps_the_gradient_finite():
    z = torch.zeros(2, 4, requires_grad=True)
    kd_loss(z, torch.full((2, 4), 0.25), standardise=True).backward()
    assert torch.isfinite(z.grad).all()
