"""The page of a study's mistakes: which images the exported file gets wrong on test."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from decant.data.images import decode
from decant.data.manifest import Manifest
from decant.data.predictions import read_predictions
from decant.evaluation.mistakes import Mistake, commonest_confusions, mistakes
from decant.evaluation.tables import plural, thousands
from decant.reporting.mistakes_page import Card, Confusion, mistakes_page
from decant.stages.support.experiment import Experiment
from decant.stages.support.tracked import thumbnail

WORST, CONFUSIONS, PER_CONFUSION = 24, 6, 4  # what the page shows at most
JPEG_QUALITY = 75


def study_mistakes(experiment: Experiment, manifest: Manifest, student: Path, ensemble: Path) -> str:
    """HTML with the worst and the typical mistakes of the exported file on test, with the ensemble's predictions.

    student, ensemble: folders of their predictions.
    """
    rows = manifest.of_split("test")
    ids = list(rows["id"])
    predictions = {
        "student": read_predictions(student, "test").aligned(ids).members["identity"],
        "ensemble": read_predictions(ensemble, "test").aligned(ids).members["identity"],
    }
    all_mistakes = mistakes(predictions["student"], manifest.targets(rows))
    worst, confusions = all_mistakes[:WORST], commonest_confusions(all_mistakes, CONFUSIONS)
    on_page = [*worst, *(mistake for pair in confusions for mistake in pair[:PER_CONFUSION])]
    images = data_uris(experiment, rows.iloc[sorted({mistake.row for mistake in on_page})])

    def cards(chosen: Sequence[Mistake]) -> list[Card]:
        return [
            card(manifest, rows.iloc[mistake.row], mistake.row, predictions, images[ids[mistake.row]])
            for mistake in chosen
        ]

    title = experiment.study.title or experiment.study.name
    summary = (
        f"The exported model is wrong on {thousands(len(all_mistakes))} of {plural(len(rows), 'test image')}. "
        "Each card shows the label and both answers with their probabilities."
    )
    if attribution := experiment.study.data.attribution:
        summary += f" Source of the images: {attribution}."
    pairs = [
        Confusion(
            manifest.classes[pair[0].label], manifest.classes[pair[0].predicted], len(pair), cards(pair[:PER_CONFUSION])
        )
        for pair in confusions
    ]
    return mistakes_page(f"Mistakes: {title}", summary, cards(worst), pairs)


def card(manifest: Manifest, row: pd.Series, position: int, predictions: dict[str, np.ndarray], image: str) -> Card:
    """The card of an image. position: its row in `predictions`, log-probabilities [n, K] per model. image: data URI."""
    best = {name: int(log_probabilities[position].argmax()) for name, log_probabilities in predictions.items()}
    return Card(
        image,
        str(row["path"]),
        row["label"],
        {
            name: (manifest.classes[index], float(np.exp(predictions[name][position, index])))
            for name, index in best.items()
        },
    )


def data_uris(experiment: Experiment, rows: pd.DataFrame) -> dict[str, str]:
    """Manifest id -> the image, small, as a data URI."""
    return {id_: data_uri(decode(data)) for id_, data in experiment.encoded_images(rows)}


def data_uri(pixels: np.ndarray) -> str:
    """The thumbnail of an image, uint8 [H, W, 3], as a JPEG file without metadata, in a data URI."""
    file = io.BytesIO()
    Image.fromarray(thumbnail(pixels)).save(file, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
