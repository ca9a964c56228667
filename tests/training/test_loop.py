"""The training loop: it learns, records its history, and a killed run ends with the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trainings import CPU, PLAIN, Networks, Stopped, Tasks, assert_same, history, run, stopping

from decant.data.pixels import PixelCache
from decant.errors import UserError
from decant.models.classifier import Classifier
from decant.models.weights import head_entries
from decant.study import Views
from decant.training import loop
from decant.training.augmentation import rand_augment
from decant.training.loop import network_input
from decant.training.resume import remove_resume


def test_a_separable_problem_is_learned(
    network_of: Networks, task_of: Tasks, cache: PixelCache, targets: np.ndarray, folder: Path
) -> None:
    settings = PLAIN.model_copy(update={"epochs": 10, "label_smoothing": 0.0})
    task = task_of(settings)
    used, tracked = run(network_of(settings), task, settings, folder)
    assert tracked[-1]["loss"] < 0.5 * tracked[0]["loss"]
    images = network_input(task.views.render(task.rows, 99, 32), CPU)
    with torch.inference_mode():
        predicted = used.eval()(images).argmax(dim=1).numpy()
    assert (predicted == targets).mean() > 0.9


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("ema_share", [0.0, 0.5])
@pytest.mark.parametrize(
    ("architecture", "model_args", "drop_path"),
    [
        ("test_efficientnet", {"drop_rate": 0.3}, 0.2),
        ("test_convnext", {}, 0.3),
        ("test_vit", {"proj_drop_rate": 0.2}, 0.1),
    ],
)
def test_an_interrupted_training_ends_with_the_same_weights(
    network_of: Networks,
    task_of: Tasks,
    tmp_path: Path,
    optimizer: str,
    ema_share: float,
    architecture: str,
    model_args: dict[str, Any],
    drop_path: float,
) -> None:
    settings = PLAIN.model_copy(
        update={
            "architecture": architecture,
            "model_args": model_args,
            "drop_path": drop_path,
            "optimizer": optimizer,
            "ema_share": ema_share,
            "learning_rate": 2e-3 if optimizer == "adamw" else 2e-2,
            "views": Views(mix=0.3, erase=0.3),
        }
    )
    task = task_of(settings)
    straight, _ = run(network_of(settings), task, settings, tmp_path / "straight")
    with pytest.raises(Stopped):
        run(network_of(settings), task, settings, tmp_path / "killed", stopping(2))
    torch.manual_seed(999)  # a new process has another global state and other initial weights
    resumed, tracked = run(network_of(settings, seed=77), task, settings, tmp_path / "killed")
    assert [row["epoch"] for row in tracked] == [2, 3]
    assert_same(straight, resumed)
    columns = ("epoch", "loss", "val_accuracy")
    assert [[row[key] for key in columns] for row in history(tmp_path / "killed")] == [
        [row[key] for key in columns] for row in history(tmp_path / "straight")
    ]


def test_a_training_killed_in_every_epoch_ends_with_the_same_weights(
    network_of: Networks, task_of: Tasks, tmp_path: Path
) -> None:
    settings = PLAIN.model_copy(update={"ema_share": 0.5, "drop_path": 0.2})
    task = task_of(settings)
    straight, _ = run(network_of(settings), task, settings, tmp_path / "straight")
    for _ in range(settings.epochs - 1):
        with pytest.raises(Stopped):
            run(network_of(settings), task, settings, tmp_path / "killed", stopping(2))
    resumed, _ = run(network_of(settings), task, settings, tmp_path / "killed")
    assert_same(straight, resumed)


def test_a_training_killed_before_its_first_save_starts_from_the_beginning(
    network_of: Networks, task_of: Tasks, tmp_path: Path
) -> None:
    straight, _ = run(network_of(PLAIN), task_of(PLAIN), PLAIN, tmp_path / "straight")
    with pytest.raises(Stopped):
        run(network_of(PLAIN), task_of(PLAIN), PLAIN, tmp_path / "killed", stopping(1))
    resumed, tracked = run(network_of(PLAIN), task_of(PLAIN), PLAIN, tmp_path / "killed")
    assert len(tracked) == PLAIN.epochs
    assert_same(straight, resumed)


@pytest.mark.parametrize("changes", [{}, {"keep": "best"}, {"ema_share": 0.5}, {"epochs": 9, "patience": 1}])
def test_a_finished_training_whose_network_was_not_stored_gives_it_again(
    network_of: Networks, task_of: Tasks, folder: Path, changes: dict[str, Any]
) -> None:
    settings = PLAIN.model_copy(update=changes)
    used, _ = run(network_of(settings), task_of(settings), settings, folder)
    again, tracked = run(network_of(settings, seed=77), task_of(settings), settings, folder)
    assert tracked == []
    assert_same(used, again)


def test_the_state_of_a_stored_training_is_removed(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    run(network_of(PLAIN), task_of(PLAIN), PLAIN, folder)
    remove_resume(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv"]


def test_weights_are_equal_for_equal_seeds_only(network_of: Networks, task_of: Tasks, tmp_path: Path) -> None:
    settings = PLAIN.model_copy(update={"drop_path": 0.3})
    first, _ = run(network_of(settings), task_of(settings), settings, tmp_path / "1")
    torch.manual_seed(5)
    same, _ = run(network_of(settings), task_of(settings), settings, tmp_path / "2")
    other, _ = run(network_of(settings), task_of(settings), settings, tmp_path / "3", seed=4)
    assert_same(first, same)
    assert not torch.equal(
        first.state_dict()["backbone.conv_stem.weight"], other.state_dict()["backbone.conv_stem.weight"]
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_body_changes_only_after_the_frozen_epochs(
    network_of: Networks, task_of: Tasks, folder: Path, optimizer: str
) -> None:
    settings = PLAIN.model_copy(update={"unfreeze_epochs": [2], "optimizer": optimizer})
    network = network_of(settings)
    start = {name: value.detach().clone() for name, value in network.backbone.named_parameters()}
    changed: list[set[str]] = []

    def evaluate(classifier: Classifier) -> dict[str, float]:
        changed.append({n for n, value in classifier.backbone.named_parameters() if not torch.equal(value, start[n])})
        return {"val_accuracy": 0.0}

    run(network, task_of(settings), settings, folder, evaluate)
    head = head_entries(network.backbone)
    assert changed[:2] == [head, head]
    assert changed[2] > head


@pytest.mark.parametrize("freeze_norm", [False, True])
def test_frozen_norms_keep_their_statistics_and_train_their_weights(
    network_of: Networks, task_of: Tasks, folder: Path, freeze_norm: bool
) -> None:
    settings = PLAIN.model_copy(update={"freeze_norm": freeze_norm})
    network = network_of(settings)
    start = {key: value.clone() for key, value in network.state_dict().items()}
    used, _ = run(network, task_of(settings), settings, folder)
    changed = {key for key, value in used.state_dict().items() if not torch.equal(value, start[key])}
    assert any("running" in key for key in changed) != freeze_norm
    assert "backbone.bn1.weight" in changed and "backbone.conv_stem.weight" in changed


def test_a_damaged_resume_file_is_ignored(network_of: Networks, task_of: Tasks, tmp_path: Path) -> None:
    straight, _ = run(network_of(PLAIN), task_of(PLAIN), PLAIN, tmp_path / "straight")
    with pytest.raises(Stopped):
        run(network_of(PLAIN), task_of(PLAIN), PLAIN, tmp_path / "killed", stopping(2))
    path = tmp_path / "killed" / "resume.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    resumed, tracked = run(network_of(PLAIN), task_of(PLAIN), PLAIN, tmp_path / "killed")
    assert len(tracked) == PLAIN.epochs
    assert_same(straight, resumed)


def test_the_averaged_network_is_evaluated_and_returned(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    settings = PLAIN.model_copy(update={"ema_share": 0.5})
    network = network_of(settings)
    evaluated: list[Classifier] = []

    def evaluate(classifier: Classifier) -> dict[str, float]:
        evaluated.append(classifier)
        return {"val_accuracy": 0.0}

    used, _ = run(network, task_of(settings), settings, folder, evaluate)
    assert all(classifier is used for classifier in evaluated) and used is not network


def test_training_mode_is_restored_after_an_evaluation(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    def evaluate(classifier: Classifier) -> dict[str, float]:
        classifier.eval()
        return {"val_accuracy": 0.0}

    used, _ = run(network_of(PLAIN), task_of(PLAIN), PLAIN, folder, evaluate)
    counter = used.state_dict()["backbone.bn1.num_batches_tracked"]
    assert counter == PLAIN.epochs * 3  # 24 images are 3 batches, each counted by BatchNorm in training mode


def test_every_epoch_uses_the_view_of_view_of_epoch(
    network_of: Networks, task_of: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PLAIN.model_copy(update={"epochs": 5})
    task = task_of(settings)
    drawn: list[int] = []
    render = type(task.views).render

    def recorded(self: Any, rows: np.ndarray, view: int, size: int) -> Tensor:
        drawn.append(view)
        return render(self, rows, view, size)

    monkeypatch.setattr(type(task.views), "render", recorded)
    run(network_of(settings), replace(task, view_of_epoch=lambda epoch: epoch % 2), settings, folder)
    assert drawn == [view for epoch in range(5) for view in [epoch % 2] * 3]


def test_each_epoch_has_its_criterion(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    settings = PLAIN.model_copy(update={"epochs": 3})
    task = task_of(settings)
    changing = replace(
        task, criterion_of_epoch=lambda epoch: lambda logits, rows, view: 0 * logits.sum() + float(epoch)
    )
    run(network_of(settings), changing, settings, folder)
    assert [float(row["loss"]) for row in history(folder)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_a_user_error_with_advice(
    network_of: Networks, task_of: Tasks, folder: Path, bad: float
) -> None:
    task = task_of(PLAIN)
    diverging = replace(task, criterion=lambda logits, rows, view: logits.sum() * bad)
    with pytest.raises(UserError) as error:
        run(network_of(PLAIN), diverging, PLAIN, folder)
    message = str(error.value)
    assert "in epoch 1" in message and "learning_rate=0.00067" in message
    assert "warmup_epochs=1.5" in message and "dtype=fp32" in message
    assert not (folder / "history.csv").exists() and not (folder / "resume.safetensors").exists()


def test_history_rows_are_tracked_per_epoch(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    _, tracked = run(network_of(PLAIN), task_of(PLAIN), PLAIN, folder)
    rows = history(folder)
    assert list(rows[0]) == ["epoch", "loss", "val_accuracy", "images_per_second"]
    assert [{key: str(value) for key, value in row.items()} for row in tracked] == rows


def test_the_schedule_and_the_average_span_the_whole_training(
    network_of: Networks, task_of: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PLAIN.model_copy(update={"ema_share": 0.5, "warmup_epochs": 1.0})
    rates: list[float] = []
    averaged: list[int] = []
    set_rate, update = loop.set_rate, loop.Averaged.update

    def recorded(optimizer: torch.optim.Optimizer, rate: float) -> None:
        rates.append(rate / settings.learning_rate)
        set_rate(optimizer, rate)

    def counted(self: loop.Averaged, classifier: Classifier, step: int) -> None:
        averaged.append(step)
        update(self, classifier, step)

    monkeypatch.setattr(loop, "set_rate", recorded)
    monkeypatch.setattr(loop.Averaged, "update", counted)
    run(network_of(settings), task_of(settings), settings, folder)
    cosine = [0.5 * (1 + np.cos(np.pi * step / 6)) for step in range(6)]  # 3 steps per epoch; epoch 1 is the warm-up
    np.testing.assert_allclose(rates, [1 / 3, 2 / 3, 1, *cosine], atol=1e-9)
    assert averaged == list(range(9))


def test_gradients_are_clipped_before_the_step(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    settings = PLAIN.model_copy(update={"optimizer": "sgd", "epochs": 1, "warmup_epochs": 0.0, "weight_decay": 0.0})
    task = task_of(settings)
    network = network_of(settings)
    start = torch.cat([value.detach().flatten().clone() for value in network.backbone.parameters()])
    steep = replace(task, criterion=lambda logits, rows, view: logits.square().sum() * 1e6, rows=task.rows[:8])
    used, _ = run(network, steep, settings.model_copy(update={"learning_rate": 0.1}), folder)
    change = torch.cat([value.detach().flatten() for value in used.backbone.parameters()]) - start
    # One step of SGD with Nesterov momentum 0.9: learning rate x (1 + 0.9) x a gradient of norm 5.
    assert change.norm().item() == pytest.approx(0.1 * 1.9 * 5, rel=1e-3)


def test_network_input_is_the_view_divided_by_255() -> None:
    views = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = network_input(views, CPU)
    np.testing.assert_allclose(images.numpy(), views.numpy() / np.float32(255), rtol=1e-6)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_input_grows_over_the_epochs(
    network_of: Networks, task_of: Tasks, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PLAIN.model_copy(update={"input_px": 64, "grow_from": 0.5, "epochs": 5})
    task, sizes = task_of(settings), []
    render = type(task.views).render

    def recorded(self: Any, rows: np.ndarray, view: int, size: int) -> Tensor:
        sizes.append(size)
        return render(self, rows, view, size)

    monkeypatch.setattr(type(task.views), "render", recorded)
    run(network_of(settings), task, settings, folder)
    assert sizes[::3] == [32, 48, 48, 64, 64]


def test_an_augmentation_changes_what_is_learned_and_repeats_with_the_seed(
    network_of: Networks, task_of: Tasks, tmp_path: Path
) -> None:
    augmented = replace(task_of(PLAIN), augment=rand_augment(9))
    first, _ = run(network_of(PLAIN), augmented, PLAIN, tmp_path / "1")
    torch.manual_seed(5)
    same, _ = run(network_of(PLAIN), augmented, PLAIN, tmp_path / "2")
    plain, _ = run(network_of(PLAIN), task_of(PLAIN), PLAIN, tmp_path / "3")
    assert_same(first, same)
    assert not torch.equal(
        first.state_dict()["backbone.conv_stem.weight"], plain.state_dict()["backbone.conv_stem.weight"]
    )
