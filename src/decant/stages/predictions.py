"""Stage predictions/NAME: what a trained model says of val, test and the photos to predict, per TTA member."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from decant.data.manifest import Manifest
from decant.data.predictions import Predictions, write_predictions
from decant.ensemble.tta import tta_members
from decant.models.checkpoint import load_checkpoint
from decant.models.inference import Members, evaluation_batches, predict
from decant.stages.support.experiment import Experiment
from decant.stages.support.training_data import read_cleaned
from decant.stages.teacher import models_of
from decant.tracking import progress
from decant.workspace import StageResult

VERSION = 1
SPLITS = ("val", "test", "predict")


def predictions(experiment: Experiment, name: str, trained: StageResult) -> StageResult:
    """Predictions of a trained stage under the ensemble's TTA; out of fold on train where it has folds."""
    tta = experiment.study.ensemble.tta
    members = tta_members(tta, fixed_size=True)

    def build(folder: Path) -> None:
        manifest = read_cleaned(experiment)
        for split in SPLITS:
            if len(manifest.of_split(split)):
                write_predictions(folder, split, mean_of_models(experiment, manifest, split, trained, members))
        if (trained.folder / "folds.json").is_file():
            write_predictions(folder, "train", out_of_fold(experiment, manifest, trained, members))

    return experiment.workspace.stage(f"predictions/{name}", {"tta": tta}, [trained], VERSION, build)


def mean_of_models(
    experiment: Experiment, manifest: Manifest, split: str, trained: StageResult, members: Members
) -> Predictions:
    """The mean over the folds' models of each member's probabilities, in the order of the split's rows."""
    rows = manifest.of_split(split)
    parts = []
    for place in models_of(trained):
        checkpoint = load_checkpoint(place)
        pictures = progress(experiment.pictures(rows), f"predicting {split}", len(rows), "images")
        batches = evaluation_batches(pictures, checkpoint.preprocessing)
        parts.append(predict(checkpoint.classifier, batches, experiment.device, members).aligned(list(rows["id"])))
    return Predictions(parts[0].ids, averaged([part.members for part in parts]))


def averaged(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Member-wise log of the mean of probabilities."""
    return {
        name: (logsumexp([part[name] for part in parts], axis=0) - np.log(len(parts))).astype(np.float32)
        for name in parts[0]
    }


def out_of_fold(experiment: Experiment, manifest: Manifest, trained: StageResult, members: Members) -> Predictions:
    """Each train picture by the one model that has not seen it (or its near duplicates)."""
    fold_of: Mapping[str, int] = json.loads((trained.folder / "folds.json").read_text())
    train = manifest.of_split("train").drop_duplicates("content")
    fold = train["content"].map(fold_of)
    ids: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    for index, place in enumerate(models_of(trained)):
        rows = train[fold == index]
        checkpoint = load_checkpoint(place)
        batches = evaluation_batches(experiment.pictures(rows), checkpoint.preprocessing)
        found = predict(checkpoint.classifier, batches, experiment.device, members)
        ids += found.ids
        parts.append(found.members)
    return Predictions(ids, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
