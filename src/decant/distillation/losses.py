"""Losses that transfer a teacher's knowledge to a student.

Each loss reads the student's logits [B, K] and the teacher's *probabilities* [B, K] (from the soft-label store). With
the sample weight w_i and h_i = hard_weight it is

    L = sum_i w_i * (h_i * CE_i + (1 - h_i) * soft_i) / sum_i w_i

A row without a label (target -1) has no CE_i: its soft term gets the whole weight, and if h_i = 1 the row is left
out of both sums. Every soft term is a sum over classes and a mean over rows, so neither the number of classes nor
the batch size changes the meaning of hard_weight. Computed in float32 (float64 for float64 logits); the teacher
gets no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from decant.study import SoftLoss


def soft_loss(
    term: Callable[..., Tensor],
    student_logits: Tensor,
    teacher_probabilities: Tensor,
    targets: Tensor | None = None,
    hard_weight: float | Tensor = 0.0,
    temperature: float = 1.0,
    weights: Tensor | None = None,
    *,
    standardise: bool = False,
    **options: float,
) -> Tensor:
    """L of the docstring above with soft_i = T^2 * term_i; T^2 keeps the gradients of both parts comparable at any T.

    targets: int64 [B], -1 for a row without a label; or float [B, K] mixed labels, zeros for a row without a label;
    None if no row has one. hard_weight: in [0, 1], one number or float [B]. weights: float [B], at least 0.
    standardise: the term compares standardise_logits of both (Sun et al. 2024 use T = 2 and a larger soft weight).
    options: of the term, which gets log p_T and log q_T [B, K] with p_T = softmax(log p / T), q_T = softmax(z / T).
    Raises ValueError for shapes that differ, rows that are not probabilities and a hard_weight outside [0, 1].
    """
    z, p = _checked(student_logits, teacher_probabilities)
    teacher, student = _log(p), z
    if standardise:
        teacher, student = standardise_logits(teacher), standardise_logits(student)
    teacher, student = (F.log_softmax(values / temperature, dim=1) for values in (teacher, student))
    soft = temperature**2 * term(teacher, student, targets, weights, **options)
    return _mixed(z, targets, soft, hard_weight, weights)


def standardise_logits(logits: Tensor) -> Tensor:
    """Logit standardisation (Sun, Ren, Li, Wang & Cao 2024, algorithm 1).

        Z(z) = (z - mean(z)) / std(z),    std over the K logits of the row (population)

    The student then needs to match only the shape of the teacher's logits, not their spread. A constant per row
    drops out, so log-probabilities serve as logits. float [B, K] -> [B, K]; a constant row becomes zeros.
    """
    deviation = logits - logits.mean(dim=-1, keepdim=True)
    variance = deviation.square().mean(dim=-1, keepdim=True)
    return deviation / (variance + 1e-14).sqrt()  # 1e-14 inside the root: the gradient of a constant row stays finite


# ---- soft terms: log p_T and log q_T [B, K], targets and weights as in soft_loss -> [B] ----


def kd_term(teacher: Tensor, student: Tensor, targets: Tensor | None, weights: Tensor | None) -> Tensor:
    """Knowledge distillation (Hinton, Vinyals & Dean 2015, section 2): KL(p_T || q_T)."""
    return _kl(teacher, student)


def soft_cross_entropy_term(teacher: Tensor, student: Tensor, targets: Tensor | None, weights: Tensor | None) -> Tensor:
    """Cross-entropy with soft labels (Beyer, Zhai, Royer, Markeeva, Anil & Kolesnikov 2022): -sum_k p_T,k log q_T,k.

    It has the gradient of kd_term; it is higher by the teacher's entropy.
    """
    return -(teacher.exp() * student).sum(dim=1)


def jensen_shannon_term(teacher: Tensor, student: Tensor, targets: Tensor | None, weights: Tensor | None) -> Tensor:
    """Jensen-Shannon divergence (Lin 1991, with equal weights): symmetric, and at most log 2.

        (KL(p_T || m) + KL(q_T || m)) / 2,    m = (p_T + q_T) / 2

    A row on which the student is far from the teacher therefore has less influence than with kd_term.
    """
    middle = torch.logaddexp(teacher, student) - math.log(2)
    return (_kl(teacher, middle) + _kl(student, middle)) / 2


def dkd_term(
    teacher: Tensor,
    student: Tensor,
    targets: Tensor | None,
    weights: Tensor | None,
    *,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> Tensor:
    """Decoupled knowledge distillation (Zhao, Cui, Song, Qiu & Liang 2022, equations 5 to 7).

        alpha * KL(b^p || b^q) + beta * KL(p^ || q^)

    b = (p_t, 1 - p_t) is the target class against the rest, p^ the distribution among the others. With alpha = 1
    and beta = 1 - p_t this equals KD. A row without a label is decoupled at the teacher's top class (in the paper
    all rows have labels). alpha = target_weight, beta = other_weight.
    """
    target = F.one_hot(_target_class(teacher, targets), student.shape[1]).bool()
    (binary_p, others_p), (binary_q, others_q) = _decoupled(teacher, target), _decoupled(student, target)
    return target_weight * _kl(binary_p, binary_q) + other_weight * _kl(others_p, others_q)


def dist_term(
    teacher: Tensor,
    student: Tensor,
    targets: Tensor | None,
    weights: Tensor | None,
    *,
    between_classes: float = 1.0,
    within_class: float = 1.0,
) -> Tensor:
    """DIST: matches correlations instead of values (Huang, You, Wang, Qian & Xu 2022, equations 7 to 10).

        beta * (1 - r(p_i, q_i)) + gamma * mean_k (1 - r(p_:k, q_:k))

    r is Pearson's correlation, over the classes of a row and over the rows of a class (with the sample weights).
    beta = between_classes, gamma = within_class.
    """
    p, q = teacher.exp(), student.exp()
    row_weight = torch.ones_like(p[:, :1]) if weights is None else weights[:, None].to(p)
    between = 1 - _pearson(p.T, q.T, torch.ones_like(p.T[:, :1]))
    within = 1 - _pearson(p, q, row_weight)
    return between_classes * between + within_class * within.mean()


kd_loss = partial(soft_loss, kd_term)
dkd_loss = partial(soft_loss, dkd_term)
dist_loss = partial(soft_loss, dist_term)
soft_cross_entropy = partial(soft_loss, soft_cross_entropy_term)
jensen_shannon_loss = partial(soft_loss, jensen_shannon_term)
SOFT_LOSSES: dict[SoftLoss, Callable[..., Tensor]] = {
    "kd": kd_loss,
    "dkd": dkd_loss,
    "dist": dist_loss,
    "soft_cross_entropy": soft_cross_entropy,
    "jensen_shannon": jensen_shannon_loss,
}


# ---- the parts ----


def _mixed(
    logits: Tensor, targets: Tensor | None, soft: Tensor, hard_weight: float | Tensor, weights: Tensor | None
) -> Tensor:
    """L of the module's docstring. soft: soft_i, [B]."""
    share = torch.as_tensor(hard_weight, dtype=soft.dtype, device=soft.device).expand_as(soft)
    if not bool(((share >= 0) & (share <= 1)).all()):
        raise ValueError(f"hard_weight must be in [0, 1], not {hard_weight}")
    if targets is None:
        labelled, hard = torch.zeros(len(soft), dtype=torch.bool, device=soft.device), torch.zeros_like(soft)
    else:
        labelled, hard = _labelled(targets), _cross_entropy(logits, targets)
    rows = torch.where(labelled, share * hard + (1 - share) * soft, soft)
    weights = torch.ones_like(soft) if weights is None else weights.to(soft)
    return _weighted_mean(rows, weights * (labelled | (share < 1)))


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """CE_i, [B]; the value for a row without a label is not used."""
    log_q = F.log_softmax(logits, dim=1)
    if targets.ndim == 2:
        return -(targets.to(log_q) * log_q).sum(dim=1)
    return -log_q.gather(1, targets.clamp_min(0)[:, None]).squeeze(1)


def _labelled(targets: Tensor) -> Tensor:
    """bool [B]. A row of mixed labels is labelled if all partners are (their shares then sum to 1)."""
    return targets >= 0 if targets.ndim == 1 else targets.sum(dim=1) > 0.999


def _target_class(teacher: Tensor, targets: Tensor | None) -> Tensor:
    """int64 [B]: the label, or the teacher's top class for a row without one."""
    if targets is None:
        return teacher.argmax(dim=1)
    classes = targets if targets.ndim == 1 else targets.argmax(dim=1)
    return torch.where(_labelled(targets), classes, teacher.argmax(dim=1))


def _decoupled(log_p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of target against rest, [B, 2], and among the others, [B, K] (0 at the target)."""
    others = log_p.masked_fill(target, -torch.inf)
    binary = torch.stack([(log_p * target).sum(dim=1), others.logsumexp(dim=1)], dim=1)
    # The target's entry is the same finite number for teacher and student, so it contributes 0 to the KL.
    return binary, F.log_softmax(others, dim=1).masked_fill(target, 0.0)


def _pearson(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Correlation down the columns of [n, m] with row weights [n, 1]: [m]; 0 for a constant column."""
    share = weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
    a, b = (share.sqrt() * (x - (share * x).sum(dim=0)) for x in (a, b))
    return (a * b).sum(dim=0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-8 / len(a))


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) = sum_k p_k (log p_k - log q_k), p the teacher and q the student. [B, K] -> [B]."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def _log(p: Tensor) -> Tensor:
    """The logarithm of p; finite at 0 too."""
    return p.clamp_min(torch.finfo(torch.float32).tiny).log()


def _weighted_mean(rows: Tensor, weights: Tensor) -> Tensor:
    """sum w l / sum w; 0 with zero gradients if no row has weight."""
    weights = weights.to(rows)
    return (weights * rows).sum() / weights.sum().clamp_min(torch.finfo(rows.dtype).tiny)


def _checked(student_logits: Tensor, teacher_probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float32 (float64 for float64 logits). Raises ValueError if the teacher's rows are not probabilities."""
    if student_logits.ndim != 2 or student_logits.shape != teacher_probabilities.shape:
        raise ValueError(
            f"shapes differ: student {tuple(student_logits.shape)}, teacher {tuple(teacher_probabilities.shape)}"
        )
    z = student_logits if student_logits.dtype == torch.float64 else student_logits.float()
    p = teacher_probabilities.detach().to(z)
    if not bool((p >= 0).all() & ((p.sum(dim=1) - 1).abs() < 1e-2).all()):
        raise ValueError(
            "the teacher's rows are not probabilities (numbers from 0 to 1 that sum to 1); are they logits?"
        )
    return z, p
