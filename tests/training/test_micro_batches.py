"""Batches in parts: the same gradients, and parts of half the size when the memory is too small."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from trainings import PLAIN, Networks, Tasks, run

from decant.errors import UserError
from decant.training.loop import Batch, compute_gradients
from decant.training.supervised import supervised_loss

NO_NORMS = PLAIN.model_copy(update={"architecture": "test_vit"})  # batch norms see each part by itself


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_gradients_of_parts_add_up_to_those_of_the_batch(network_of: Networks, task_of: Tasks, size: int) -> None:
    classifier, task = network_of(NO_NORMS), task_of(NO_NORMS)
    batch = Batch(np.arange(8), np.arange(8), 0, task.views.render(np.arange(8), 0, 32))
    found = []
    for part in (8, size):
        classifier.zero_grad()
        loss = compute_gradients(classifier, task, batch, part, "fp32")
        found.append((loss, [value.grad.clone() for value in classifier.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_the_gradients_of_parts_add_up_where_rows_have_different_weights(
    network_of: Networks, task_of: Tasks, targets: np.ndarray
) -> None:
    classifier, plain = network_of(NO_NORMS), task_of(NO_NORMS)
    weight = np.linspace(0.1, 3, len(targets))
    criterion = supervised_loss(plain.views, targets, weight, 3, NO_NORMS)
    task, rows = replace(plain, criterion=criterion, weight=weight), np.arange(0, len(targets), 3)
    batch = Batch(rows, rows, 0, plain.views.render(rows, 0, 32))
    found = []
    for part in (len(rows), 3):
        classifier.zero_grad()
        loss = compute_gradients(classifier, task, batch, part, "fp32")
        found.append((loss, [value.grad.clone() for value in classifier.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_parts_are_halved_until_they_fit_into_memory(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    task, sizes = task_of(NO_NORMS), []

    def limited(logits: Tensor, rows: np.ndarray, view: int) -> Tensor:
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError
        return task.criterion(logits, rows, view)

    used, _ = run(network_of(NO_NORMS), replace(task, criterion=limited), NO_NORMS, folder)
    assert sizes[:6] == [8, 4, 2, 2, 2, 2] and set(sizes[6:]) == {2}
    whole, _ = run(network_of(NO_NORMS), task, NO_NORMS, folder / "whole")
    for value, expected in zip(used.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0.05, atol=2e-3)


def test_a_memory_that_is_too_small_for_one_image_is_a_user_error(
    network_of: Networks, task_of: Tasks, folder: Path
) -> None:
    def none(logits: Tensor, rows: np.ndarray, view: int) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match=r"too small for one image.*smaller input_px"):
        run(network_of(NO_NORMS), replace(task_of(NO_NORMS), criterion=none), NO_NORMS, folder)
