"""Stage predictions/NAME: a trained model's predictions for val, test and the images to predict, per TTA member.

The stage refit_predictions/NAME predicts the images to predict alone: its model was trained on val and test.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from decant.data.manifest import Manifest, read_manifest
from decant.data.predictions import SPLITS, Predictions, write_predictions
from decant.ensemble.tta import tta_members
from decant.models.checkpoint import load_checkpoint
from decant.models.inference import Members
from decant.stages import REFIT, STUDENTS
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.experiment import Experiment
from decant.stages.support.predicted import predicted
from decant.stages.support.resolve import Inputs

VERSION = 1
PARALLEL = True


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {"tta": tta_of(experiment, name)}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write the predictions of each split per TTA member; for a teacher with folds also of train, out of fold."""
    members = tta_members(tta_of(experiment, name), fixed_size=True)
    manifest = read_manifest(inputs.folder("clean"))
    trained = inputs.folder(trained_stage(name))
    for split in ("predict",) if name.startswith(REFIT) else SPLITS:
        if len(manifest.of_split(split)):
            write_predictions(folder, split, mean_of_models(experiment, manifest, split, trained, members))
    if (trained / "folds.json").is_file():
        write_predictions(folder, "train", out_of_fold(experiment, manifest, trained, members))


def tta_of(experiment: Experiment, name: str) -> list[str | dict[str, Any]]:
    """The ensemble's TTA for a teacher; none for the students, whose ONNX file predicts one image per call."""
    return [] if name.partition("/")[2] in STUDENTS else experiment.study.ensemble.tta


def trained_stage(name: str) -> str:
    """The stage that trained the model of the stage `name`: predictions/lite1 -> teachers/lite1."""
    model = name.partition("/")[2]
    return model if model in STUDENTS else f"teachers/{model}"


def mean_of_models(
    experiment: Experiment, manifest: Manifest, split: str, trained: Path, members: Members
) -> Predictions:
    """The mean of each member's probabilities over the models of the folds, in the order of the split's rows."""
    rows = manifest.of_split(split)
    parts = []
    for folder in model_folders(trained):
        checkpoint = load_checkpoint(folder)
        network = checkpoint.classifier, checkpoint.preprocessing
        parts.append(predicted(experiment, rows, *network, members, f"predicting {split}"))
    return Predictions(parts[0].ids, averaged([part.members for part in parts]))


def averaged(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The log of the mean of probabilities, member by member."""
    return {
        name: (logsumexp([part[name] for part in parts], axis=0) - np.log(len(parts))).astype(np.float32)
        for name in parts[0]
    }


def out_of_fold(experiment: Experiment, manifest: Manifest, trained: Path, members: Members) -> Predictions:
    """Predictions for train: each image by the one model that was trained without it and its near duplicates."""
    fold_of: Mapping[str, int] = json.loads((trained / "folds.json").read_text(encoding="utf-8"))
    train = manifest.of_split("train").drop_duplicates("content")
    fold = train["content"].map(fold_of)
    ids: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    for index, folder in enumerate(model_folders(trained)):
        checkpoint = load_checkpoint(folder)
        network = checkpoint.classifier, checkpoint.preprocessing
        predictions = predicted(experiment, train[fold == index], *network, members)
        ids += predictions.ids
        parts.append(predictions.members)
    return Predictions(ids, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
