"""Auxiliary labels shape the body in training, and leave a network with the outputs of its classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from decant.data.pixels import PixelCache
from decant.data.views import ViewSet
from decant.models.backbones import build_classifier, head_of
from decant.models.classifier import Classifier
from decant.models.weights import head_entries
from decant.study import Training, Views
from decant.training.auxiliary import AuxiliaryLabels, narrow, of_first_outputs, widen, with_auxiliary
from decant.training.loop import Task, train
from decant.training.supervised import supervised_loss

K = 3
PLAIN = Training(
    architecture="test_efficientnet", input_px=32, epochs=2, batch_size=8, learning_rate=2e-3, dtype="fp32"
)
Networks = Callable[..., Classifier]


class Stopped(Exception):
    """Replaces a kill."""


@pytest.fixture
def makes(cache: PixelCache) -> AuxiliaryLabels:
    """Four labels that the colours do not determine; every fifth is missing."""
    number = np.arange(len(cache))
    return AuxiliaryLabels(np.where(number % 5 == 0, -1, number % 4), 4)


def views_of(cache: PixelCache, mix: float = 0.0) -> ViewSet:
    return ViewSet.of(cache, Views(mix=mix), 1, np.arange(len(cache)))


def outputs_seen(seen: list[int], stop_at: int = -1) -> Callable[[Classifier], dict[str, float]]:
    def evaluate(classifier: Classifier) -> dict[str, float]:
        seen.append(classifier.eval()(torch.zeros(1, 3, 32, 32)).shape[1])
        if len(seen) == stop_at:
            raise Stopped
        return {"val_accuracy": 0.5}

    return evaluate


def trained(
    network: Classifier,
    cache: PixelCache,
    targets: np.ndarray,
    column: AuxiliaryLabels | None,
    folder: Path,
    seen: list[int],
    stop_at: int = -1,
    ema: float = 0.0,
) -> Classifier:
    """The network after training with the further column, or without one."""
    views, weight = views_of(cache, 0.3), np.ones(len(cache))
    criterion = supervised_loss(views, targets, weight, K, PLAIN)
    evaluate = outputs_seen(seen, stop_at)
    if column is not None:
        criterion = with_auxiliary(criterion, [column], views, weight, K, 0.1, 1.0)
        evaluate = of_first_outputs(evaluate, K)
        widen(network, column.classes)
    settings = PLAIN.model_copy(update={"ema_share": ema})
    task = Task(np.arange(len(cache)), views, criterion)
    used = train(network, task, settings, 3, folder, evaluate, torch.device("cpu"), lambda row: None)
    if column is not None:
        narrow(used, K)
    return used


def differing(one: Classifier, other: Classifier) -> list[str]:
    state = other.state_dict()
    return [key for key, value in one.state_dict().items() if not torch.equal(value, state[key])]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_body_learns_from_the_column_and_the_network_keeps_its_outputs(
    network_of: Networks, cache: PixelCache, targets: np.ndarray, makes: AuxiliaryLabels, tmp_path: Path, ema: float
) -> None:
    seen: list[int] = []
    plain = trained(network_of(PLAIN), cache, targets, None, tmp_path / "plain", [], ema=ema)
    used = trained(network_of(PLAIN), cache, targets, makes, tmp_path / "further", seen, ema=ema)
    assert not {key.removeprefix("backbone.") for key in differing(used, plain)} <= head_entries(used.backbone)
    assert seen == [K, K]
    assert {key: value.shape for key, value in used.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }


def test_the_same_seed_gives_the_same_weights_also_after_a_kill(
    network_of: Networks, cache: PixelCache, targets: np.ndarray, makes: AuxiliaryLabels, tmp_path: Path
) -> None:
    whole = trained(network_of(PLAIN), cache, targets, makes, tmp_path / "whole", [])
    again = trained(network_of(PLAIN), cache, targets, makes, tmp_path / "again", [])
    assert not differing(whole, again)
    with pytest.raises(Stopped):
        trained(network_of(PLAIN), cache, targets, makes, tmp_path / "killed", [], stop_at=2)
    assert not differing(whole, trained(network_of(PLAIN), cache, targets, makes, tmp_path / "killed", []))


def oracle(logits: np.ndarray, rows: np.ndarray, views: ViewSet, column: AuxiliaryLabels, weight: np.ndarray) -> float:
    """sum_i w_i CE(t_i) / sum_i w_i, t_i smoothed by 0.1 and without the share of a missing label."""
    drawn, total = views.draw(rows, 0), 0.0
    for i, row in enumerate(rows):
        soft = np.zeros(column.classes)
        for other, share in ((row, float(drawn.share[i])), (drawn.partner[i], 1 - float(drawn.share[i]))):
            if other >= 0 and column.targets[other] >= 0:
                soft += share * (0.9 * np.eye(column.classes)[column.targets[other]] + 0.1 / column.classes)
        total -= weight[row] * float(soft @ log_softmax(logits[i].astype(np.float64)))
    return total / weight[rows].sum()


def test_the_loss_is_that_of_the_known_labels_mixed_as_in_the_view(cache: PixelCache, makes: AuxiliaryLabels) -> None:
    rows, views = np.arange(len(cache)), views_of(cache, mix=0.7)
    assert (views.draw(rows, 0).partner >= 0).sum() > 5
    weight = np.linspace(0.5, 1, len(cache))
    logits = np.random.default_rng(0).normal(size=(len(rows), K + 4)).astype(np.float32)
    criterion = with_auxiliary(lambda logits, *_: logits.sum() * 0 + 2, [makes], views, weight, K, 0.1, 0.5)
    expected = 2 + 0.5 * oracle(logits[:, K:], rows, views, makes, weight)
    assert float(criterion(torch.from_numpy(logits), rows, 0)) == pytest.approx(expected, rel=1e-5)


def test_a_column_without_a_known_label_in_the_batch_adds_nothing(cache: PixelCache) -> None:
    unknown = AuxiliaryLabels(np.full(len(cache), -1), 4)
    logits = torch.randn(4, K + 4, requires_grad=True)
    criterion = with_auxiliary(
        lambda logits, *_: logits.sum(), [unknown], views_of(cache), np.ones(len(cache)), K, 0.1, 1.0
    )
    criterion(logits, np.arange(4), 0).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.cat([torch.ones(4, K), torch.zeros(4, 4)], dim=1))


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit"])
def test_widening_changes_no_logit_and_narrowing_takes_the_further_ones_away(architecture: str) -> None:
    size = 160 if architecture == "test_vit" else 32
    network, _ = build_classifier(architecture, K, size, ["none"], 0)
    images = torch.rand(2, 3, size, size)
    before = network.eval()(images)
    widen(network, 4)
    wide = network.eval()(images)
    assert torch.equal(wide[:, K:], torch.zeros(2, 4))
    torch.testing.assert_close(wide[:, :K], before)
    narrow(network, K)
    torch.testing.assert_close(network.eval()(images), before)


def test_an_evaluation_leaves_the_wide_layer_in_place(network_of: Networks) -> None:
    network = network_of(PLAIN)
    widen(network, 4)
    head = head_of(network)
    seen: list[int] = []
    of_first_outputs(outputs_seen(seen), K)(network)
    assert (seen, head_of(network)) == ([K], head)


def test_the_last_layer_of_an_encoder_with_a_linear_head_is_widened() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, K))
    network = Classifier(backbone, [0.0] * 3, [1.0] * 3)
    widen(network, 2)
    assert network(torch.rand(5, 3, 2, 2)).shape == (5, K + 2)
