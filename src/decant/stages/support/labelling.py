"""A trained teacher that labels views of training images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from decant.data.preprocessing import height_width
from decant.data.views import ViewSet
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.models.inference import for_inference
from decant.processes import team
from decant.stages.support.checkpoints import model_folders
from decant.training.loop import network_input

BATCH = 64


@dataclass(frozen=True)
class Labeller:
    """A trained teacher. checkpoints: one, or one per fold. chosen: bool [models, n], which of them label an image."""

    checkpoints: Sequence[Checkpoint]
    chosen: np.ndarray
    device: torch.device

    @classmethod
    def of(cls, trained: Path, contents: Sequence[str], device: torch.device) -> "Labeller":
        """The teacher in `trained`, the folder of a stage teachers/NAME. contents: hashes of the images to label."""
        checkpoints = [inference_checkpoint(folder, device) for folder in model_folders(trained)]
        return cls(checkpoints, labelling_models(trained, contents, len(checkpoints)), device)

    def probabilities(self, views: ViewSet, view: int, rows: np.ndarray) -> np.ndarray:
        """float32 [len(rows), K]: the mean of the labelling models' probabilities for one view of some images."""
        total = np.zeros((len(rows), len(self.checkpoints[0].classes)), dtype=np.float32)
        for checkpoint, labels_image in zip(self.checkpoints, self.chosen, strict=True):
            labelled = np.flatnonzero(labels_image[rows])
            for start in range(0, len(labelled), BATCH):
                batch = labelled[start : start + BATCH]
                rendered = views.render(rows[batch], view, checkpoint.preprocessing.input_px)
                with torch.inference_mode():
                    logits = checkpoint.classifier(network_input(rendered, self.device))
                    total[batch] += F.softmax(logits.float(), dim=1).cpu().numpy()
        return total / self.chosen[:, rows].sum(axis=0)[:, None]

    def all_probabilities(self, views: ViewSet, view: int) -> np.ndarray:
        """float32 [n, K]: of one view of every image, computed by all processes together."""
        own_rows = np.arange(self.chosen.shape[1])[team().part]
        total = np.zeros((self.chosen.shape[1], len(self.checkpoints[0].classes)), dtype=np.float32)
        total[own_rows] = self.probabilities(views, view, own_rows)
        return team().sum(total)


def inference_checkpoint(folder: Path, device: torch.device) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    size = height_width(checkpoint.preprocessing.input_px)
    return replace(checkpoint, classifier=for_inference(checkpoint.classifier, device, size))


def labelling_models(trained: Path, contents: Sequence[str], models: int) -> np.ndarray:
    """bool [models, n]: which models label an image: with folds the model that was trained without it, else all.

    A mixed view may blend in an image that the labelling model was trained on.
    """
    path = trained / "folds.json"
    fold_of: Mapping[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    labelling = np.ones((models, len(contents)), dtype=bool)
    for row, content in enumerate(contents):
        if content in fold_of:
            labelling[:, row] = np.arange(models) == fold_of[content]
    return labelling
