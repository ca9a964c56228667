"""What the stages export and int8 share: an exported file's predictions, its scores and its description."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decant.data.images import decode
from decant.data.manifest import Manifest, dependent_groups
from decant.data.predictions import SPLITS, Predictions, read_predictions, write_predictions
from decant.evaluation.acceptance import Acceptance, choose_thresholds
from decant.evaluation.energy import log_sums
from decant.evaluation.metrics import precision_row
from decant.evaluation.tables import rounded
from decant.export.examples import EXAMPLES
from decant.export.metadata import add_metadata
from decant.export.model_card import model_card
from decant.export.runtime import OnnxClassifier
from decant.stages.support.experiment import Experiment
from decant.tracking import progress
from decant.workspace import replacing, write_json

CARD, ACCEPT = "MODEL_CARD.md", "accept.json"


def decoded_images(experiment: Experiment, manifest: Manifest, split: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (id, uint8 [H, W, 3]) for the images of a split, one at a time: together they may not fit in memory."""
    rows = manifest.of_split(split)
    for id_, data in progress(experiment.encoded_images(rows), f"decoding {split}", len(rows), "images"):
        yield id_, decode(data)


def labels_by_id(manifest: Manifest, split: str) -> dict[str, str]:
    """Id -> class name, for a split in which every image has a label."""
    rows = manifest.of_split(split)
    return dict(zip(rows["id"], rows["label"], strict=True))


def typical_size(manifest: Manifest) -> tuple[int, int]:
    """Median height and width of the images to predict and to evaluate on, pixels."""
    rows = manifest.of_split("val", *(split for split in SPLITS if split != "val"))
    return int(rows["height"].median()), int(rows["width"].median())


def onnx_predictions(
    experiment: Experiment, manifest: Manifest, split: str, file: Path
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, probabilities and logits float32 [n, K] of a split, one image per call, as the file's users call it."""
    classifier = OnnxClassifier(file)
    predicted = [(id_, *classifier.predict(image)) for id_, image in decoded_images(experiment, manifest, split)]
    ids, probabilities, logits = zip(*predicted, strict=True)
    return list(ids), np.stack(probabilities), np.stack(logits)


def write_onnx_predictions(experiment: Experiment, manifest: Manifest, file: Path, folder: Path) -> None:
    """Write the file's predictions of every split into `folder`."""
    for split in SPLITS:
        if len(manifest.of_split(split)):
            ids, probabilities, logits = onnx_predictions(experiment, manifest, split, file)
            log_probabilities = np.log(np.maximum(probabilities, 1e-30)).astype(np.float32)
            write_predictions(folder, split, Predictions(ids, {"identity": log_probabilities}, log_sums(logits)))


def evaluation(manifest: Manifest, folder: Path, kind: str) -> dict[str, dict[str, float]]:
    """Split -> column of the precision table -> value with the table's digits, of the predictions in `folder`."""
    scores = {}
    for split in ("val", "test"):
        log_probabilities, _, targets = labelled_predictions(manifest, folder, split)
        groups = dependent_groups(manifest.of_split(split))
        row = precision_row(kind, kind, split, log_probabilities, targets, groups=groups)
        values = {name: rounded(name, value) for name, value in row.items() if isinstance(value, float)}
        scores[split] = {"n": len(targets), **values}
    return scores


def acceptance(manifest: Manifest, folder: Path, accept_precision: float) -> Acceptance:
    """The thresholds of the file's accepted predictions, chosen on val from the predictions in `folder`."""
    groups = dependent_groups(manifest.of_split("val"))
    return choose_thresholds(*labelled_predictions(manifest, folder, "val"), accept_precision, groups)


def labelled_predictions(manifest: Manifest, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities [n, K], log sums [n] and targets [n] of a labelled split, from the file's predictions."""
    rows = manifest.of_split(split)
    predictions = read_predictions(folder, split).aligned(list(rows["id"]))
    assert predictions.log_sums is not None  # `write_onnx_predictions` writes them
    return predictions.members["identity"], predictions.log_sums, manifest.targets(rows)


def read_acceptance(folder: Path) -> Acceptance:
    """The content of `accept.json` beside an exported file."""
    return Acceptance(**json.loads((folder / ACCEPT).read_text(encoding="utf-8")))


def describe_file(file: Path, scores: dict[str, dict[str, float]], accepted: Acceptance) -> None:
    """Write scores and acceptance into a file and its bare graph, and `accept.json` and a model card beside them."""
    described = {"evaluation": json.dumps(scores), "accept": json.dumps(accepted.to_dict())}
    for path in (file, file.with_name(f"{file.stem}_bare.onnx")):
        add_metadata(path, described)
    write_json(file.with_name(ACCEPT), accepted.to_dict())
    card = model_card(OnnxClassifier(file).metadata, file, EXAMPLES["example.py"].replace("student.onnx", file.name))
    with replacing(file.with_name(CARD)) as partial:
        partial.write_text(card, encoding="utf-8")
