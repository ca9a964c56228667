"""The state of an unfinished training on disk."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from decant.models.classifier import Classifier
from decant.training.averaging import Averaged, Kept
from decant.workspace import replacing

log = logging.getLogger(__name__)
FILE = "resume.safetensors"


class Resume:
    """An unfinished training in `folder`: network, average, kept weights, optimiser and history, in one atomic file."""

    def __init__(
        self, folder: Path, classifier: Classifier, averaged: Averaged, kept: Kept, optimizer: torch.optim.Optimizer
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self.classifier, self.averaged, self.kept, self.optimizer = classifier, averaged, kept, optimizer

    def save(self, history: list[dict[str, Any]]) -> None:
        tensors = {f"network.{key}": value for key, value in self.classifier.state_dict().items()}
        if self.averaged.module is not self.classifier:
            tensors |= {f"average.{key}": value for key, value in self.averaged.module.state_dict().items()}
        tensors |= {f"kept.{key}": value for key, value in self.kept.state.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        with replacing(self.path) as partial:
            plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
            save_file(plain, partial, metadata={"history": json.dumps(history)})

    def load(self) -> list[dict[str, Any]]:
        """Restore everything and return the history; an empty history if there is nothing to continue."""
        if not self.path.is_file():
            return []
        try:
            tensors = load_file(self.path)
        except SafetensorError:
            log.warning("%s is damaged; training starts from the beginning", self.path)
            return []
        self.classifier.load_state_dict(with_prefix(tensors, "network."))
        if self.averaged.module is not self.classifier:
            self.averaged.module.load_state_dict(with_prefix(tensors, "average."))
        self.kept.state = with_prefix(tensors, "kept.")
        self.load_optimizer(with_prefix(tensors, "optimizer."))
        history: list[dict[str, Any]] = json.loads(history_of(self.path))
        log.info("continuing after epoch %d", len(history))
        return history

    def load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """Restore the optimiser; keys of `tensors` are INDEX.SLOT, with the index of the parameter."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, _, slot = key.partition(".")
            slots.setdefault(int(index), {})[slot] = in_layout_of(parameters[int(index)], value)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})


def remove_resume(folder: Path) -> None:
    """Remove the state of a training in `folder` whose result is stored."""
    (folder / FILE).unlink(missing_ok=True)


def in_layout_of(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` in the parameter's order in memory, if it has its shape: fused optimisers ignore strides."""
    return torch.empty_like(parameter).copy_(value).detach() if value.shape == parameter.shape else value


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose key starts with `prefix`, under the rest of the key."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def history_of(path: Path) -> str:
    """The history in a file that `Resume` wrote, as JSON."""
    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["history"])
