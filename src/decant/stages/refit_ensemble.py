"""Stage refit_ensemble: the refitted teachers' predictions for the images to predict, pooled as the ensemble's are."""

from pathlib import Path
from typing import Any

from decant.data.predictions import write_predictions
from decant.stages.ensemble import pooled_predictions
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import Inputs
from decant.stages.support.weights import read_weights, weights_of

VERSION = 1


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write the pooled predictions of the images to predict; weights and temperatures are those fitted on val."""
    folders = {teacher: result.folder for teacher, result in inputs.per_teacher("predictions").items()}
    weights = weights_of(read_weights(inputs.folder("ensemble")), folders)
    write_predictions(folder, "predict", pooled_predictions(folders, weights, "predict"))
