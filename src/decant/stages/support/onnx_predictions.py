"""What the stages export and int8 share: where a file comes from, what it answers, how good that is."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decant.data.images import decode
from decant.data.manifest import Manifest
from decant.data.predictions import Predictions, read_predictions, write_predictions
from decant.evaluation.metrics import precision_row
from decant.evaluation.tables import rounded
from decant.export.examples import EXAMPLES
from decant.export.metadata import add_metadata
from decant.export.model_card import model_card
from decant.export.runtime import OnnxClassifier
from decant.stages.clean import clean
from decant.stages.ensemble import active_teachers, ensemble, read_weights
from decant.stages.predictions import SPLITS
from decant.stages.support.experiment import Experiment
from decant.stages.teacher import models_of, teacher
from decant.tracking import progress
from decant.workspace import StageResult, replacing

CARD = "MODEL_CARD.md"


def origin(experiment: Experiment, trained: StageResult) -> dict[str, str]:
    """Metadata of a student's file: the study, and the digests of data, teachers, student and code."""
    study = experiment.study
    return {
        "study": study.name,
        "title": study.title,
        "licence": study.export.licence,
        "student": trained.fingerprint,
        "data": clean(experiment).fingerprint,
        "data_digest": experiment.data_digest,
        "teachers": json.dumps(teachers_of(experiment), ensure_ascii=False),
        "code": experiment.workspace.code,
    }


def teachers_of(experiment: Experiment) -> dict[str, dict[str, object]]:
    """Name -> network, weight in the ensemble and fingerprint, of each teacher that the student active_teachers."""
    weights = read_weights(ensemble(experiment))
    shares = dict(zip(weights.names, weights.weights, strict=True))
    found = {}
    for name in active_teachers(weights):
        trained = teacher(experiment, name)
        card = json.loads((models_of(trained)[0] / "model.json").read_text(encoding="utf-8"))["card"]
        found[name] = {
            "architecture": card["architecture"],
            "weights": card["weights"],
            "weight": round(float(shares[name]), 4),
            "fingerprint": trained.fingerprint,
        }
    return found


def decoded(experiment: Experiment, manifest: Manifest, split: str) -> Iterator[tuple[str, np.ndarray]]:
    """(id, uint8 [H, W, 3]) of a split's pictures, one at a time: a thousand photos at once may not fit in memory."""
    rows = manifest.of_split(split)
    for id_, data in progress(experiment.pictures(rows), f"decoding {split}", len(rows), "images"):
        yield id_, decode(data)


def labels_of(manifest: Manifest, split: str) -> dict[str, str]:
    """Id -> class name, of a split whose pictures all have one."""
    rows = manifest.of_split(split)
    return dict(zip(rows["id"], rows["label"], strict=True))


def typical_picture(manifest: Manifest) -> tuple[int, int]:
    """Median height and width of the pictures that the models were asked about, pixels."""
    rows = manifest.of_split("val", "test", "predict")
    return int(rows["height"].median()), int(rows["width"].median())


def ask(experiment: Experiment, manifest: Manifest, split: str, file: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, probabilities and logits float32 [n, K] of a split, one picture at a time, as the file's users ask it."""
    classifier = OnnxClassifier(file)
    answers = [(id_, *classifier.predict(picture)) for id_, picture in decoded(experiment, manifest, split)]
    ids, probabilities, logits = zip(*answers, strict=True)
    return list(ids), np.stack(probabilities), np.stack(logits)


def write_answers(experiment: Experiment, manifest: Manifest, file: Path, folder: Path) -> None:
    """The file's predictions of every split into `folder`."""
    for split in SPLITS:
        if len(manifest.of_split(split)):
            ids, probabilities, _ = ask(experiment, manifest, split, file)
            log_probabilities = np.log(np.maximum(probabilities, 1e-30)).astype(np.float32)
            write_predictions(folder, split, Predictions(ids, {"identity": log_probabilities}))


def evaluation(manifest: Manifest, folder: Path, kind: str) -> dict[str, dict[str, float]]:
    """Split -> column of the precision table -> value, of predictions in `folder`, with the table's own digits."""
    found = {}
    for split in ("val", "test"):
        rows = manifest.of_split(split)
        answers = read_predictions(folder, split).aligned(list(rows["id"])).members["identity"]
        row = precision_row(kind, kind, split, answers, manifest.targets(rows))
        found[split] = {name: rounded(name, value) for name, value in row.items() if isinstance(value, float)}
        found[split] = {"n": len(rows), **found[split]}
    return found


def describe_file(file: Path, scores: dict[str, dict[str, float]]) -> None:
    """Write how good it is into a file and its bare graph, and a model card beside them."""
    for path in (file, file.with_name(f"{file.stem}_bare.onnx")):
        add_metadata(path, {"evaluation": json.dumps(scores)})
    card = model_card(OnnxClassifier(file).metadata, file, EXAMPLES["example.py"].replace("student.onnx", file.name))
    with replacing(file.with_name(CARD)) as beside:
        beside.write_text(card, encoding="utf-8")
