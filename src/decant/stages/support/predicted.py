"""A network's predictions for rows of the manifest; several processes predict a part each."""

from collections.abc import Iterator

import pandas as pd

from decant.data.predictions import Predictions
from decant.data.preprocessing import Preprocessing
from decant.models.classifier import Classifier
from decant.models.inference import IDENTITY, Members, evaluation_batches, predict
from decant.processes import team
from decant.stages.support.experiment import Experiment
from decant.tracking import progress


def predicted(
    experiment: Experiment,
    rows: pd.DataFrame,
    classifier: Classifier,
    preprocessing: Preprocessing,
    members: Members = IDENTITY,
    doing: str = "",
) -> Predictions:
    """Log-probabilities float32 [n, K] of each TTA member, in the order of `rows`. doing: label of the progress bar."""
    own_rows = rows.iloc[team().part]
    encoded: Iterator[tuple[str, bytes]] = experiment.encoded_images(own_rows)
    if doing:
        encoded = progress(encoded, doing, len(own_rows), "images")
    own_predictions = predict(classifier, evaluation_batches(encoded, preprocessing), experiment.device, members)
    own_predictions = own_predictions.aligned(list(own_rows["id"]))
    whole = {name: team().whole(values, len(rows)) for name, values in own_predictions.members.items()}
    return Predictions(list(rows["id"]), whole)
