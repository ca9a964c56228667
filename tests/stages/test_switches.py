"""Every key of a teacher reaches its training: with another value and the same seed the network becomes another one."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decant.stages import student as student_stage
from decant.stages import teacher as teacher_stage
from decant.stages.support.resolve import stage_result
from decant.study import Teacher
from decant.study_reading import load_study
from decant.training.loop import Task

Chain = Any
Overrides = dict[str, Any]
# Batch norms and few large steps, so that every change is seen soon.
PLAIN: Overrides = {"architecture": "test_efficientnet", "weights": ["none"], "dtype": "fp32", "input_px": 32}
PLAIN |= {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "views": {"mix": 0.3}}
# key, value, what the training that it is compared with has beside PLAIN
SWITCHES: list[tuple[str, Any, Overrides]] = [
    ("architecture", "test_convnext", {}),
    ("model_args", {"act_layer": "relu"}, {}),
    ("kind", "probe", {}),
    *(("head", value, {}) for value in ("zero", "probe", "mlp")),
    ("dropout", 0.5, {}),
    ("input_px", 48, {}),
    ("epochs", 3, {}),
    ("batch_size", 8, {}),
    ("optimizer", "sgd", {}),
    ("learning_rate", 0.02, {}),
    ("head_lr_factor", 10, {}),
    ("norm_bias_lr_factor", 10, {}),
    ("layer_decay", 0.7, {}),
    ("weight_decay", 0.5, {}),
    *(("schedule", value, {}) for value in ("one_cycle", "cyclic")),
    ("warmup_epochs", 0, {}),
    ("unfreeze_epochs", [1], {}),
    ("frozen_layers", 0.5, {}),
    ("grow_from", 0.5, {"input_px": 64}),
    ("freeze_norm", True, {}),
    ("label_smoothing", 0.3, {}),
    ("drop_path", 0.5, {"architecture": "test_convnext"}),
    ("ema_share", 0.5, {}),
    ("keep", "soup", {}),
    ("soup_epochs", 1, {"keep": "soup"}),
    ("balance", 1, {}),
    ("micro_batch", 4, {}),
    ("dtype", "bf16", {}),
    ("views", {"mix": 0.0}, {}),
    ("balanced_sampling", True, {}),
    ("logit_adjustment", 1, {}),
    ("rand_augment", 9, {}),
]
ELSEWHERE = {"recipe", "why", "weights", "prompts", "crop_ratio", "patience", "folds", "minutes", "auxiliary_weight"}


@pytest.fixture(scope="module")
def weights_of(chain: Chain, study_file: Path) -> Callable[[Overrides], str]:
    """A function that trains a teacher with some keys beside PLAIN, and returns the SHA-256 of its weights."""

    def digest(keys: Overrides) -> str:
        teachers = json.dumps({"only": {**PLAIN, **keys}})
        study = load_study(str(study_file), ["data.cache_px=64", f"teachers={teachers}"])
        trained = stage_result(replace(chain.experiment, study=study), "teachers/only").folder
        return hashlib.sha256((trained / "model.safetensors").read_bytes()).hexdigest()

    return digest


@pytest.mark.parametrize(("key", "value", "base"), SWITCHES)
def test_another_value_gives_another_network(
    weights_of: Callable[[Overrides], str], key: str, value: Any, base: Overrides
) -> None:
    assert weights_of({**base, key: value}) != weights_of(base)


def test_every_key_of_a_teacher_is_tried_here_or_elsewhere() -> None:
    assert {key for key, _, _ in SWITCHES} | ELSEWHERE == set(Teacher.model_fields)


class Stopped(Exception):
    """Raised in place of a training."""


@pytest.fixture
def task_of(chain: Chain, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Task]:
    """A function that returns what a stage of the study with some overrides would train on."""
    tasks: list[Task] = []

    def noted(classifier: Any, task: Task, *rest: Any) -> Any:
        tasks.append(task)
        raise Stopped

    def of(name: str, *overrides: str) -> Task:
        study = load_study(str(study_file), list(overrides))
        with pytest.raises(Stopped):
            stage_result(replace(chain.experiment, study=study), name)
        return tasks[-1]

    for module in (teacher_stage, student_stage):
        monkeypatch.setattr(module, "train", noted)
    return of


@pytest.mark.parametrize("name", ["teachers/convnext", "student", "student_alone"])
def test_the_best_epoch_is_that_of_the_studys_metric(task_of: Callable[..., Task], name: str) -> None:
    assert task_of(name, "metric=f1_macro", f"{section_of(name)}.keep=best").metric == "val_f1_macro"


@pytest.mark.parametrize("name", ["teachers/convnext", "student", "student_alone"])
def test_with_balanced_classes_the_losses_of_parts_add_up_to_that_of_the_batch(
    task_of: Callable[..., Task], name: str
) -> None:
    task = task_of(name, f"{section_of(name)}.balance=1")
    assert task.weight is not None and len(set(task.weight[task.rows].tolist())) > 1
    rows = task.rows[:12]
    logits = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(1))
    parts = [slice(0, 5), slice(5, 6), slice(6, 12)]
    added = sum(task.criterion(logits[part], rows[part], 0) * task.share(rows[part], rows) for part in parts)
    torch.testing.assert_close(added, task.criterion(logits, rows, 0))


def section_of(name: str) -> str:
    """The section of the study for a stage that trains."""
    return name.replace("/", ".").removesuffix("_alone")
