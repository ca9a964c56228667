"""How a study's exported file treats images of other data sets, which show none of its classes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import BrokenImage, decode
from decant.data.manifest import read_manifest
from decant.data.pool import batched
from decant.data.preprocessing import height_width
from decant.errors import UserError, nearest
from decant.evaluation.energy import log_sums
from decant.evaluation.foreign import foreign_row, neighbour_score, refusals, top_probability
from decant.export.runtime import OnnxClassifier
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.models.inference import features_of, for_inference
from decant.seeds import derived_seed
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import decoded_images, labels_by_id, read_acceptance
from decant.stages.support.resolve import stage_result
from decant.study_reading import load_study
from decant.tracking import progress

SHARE = 0.95  # accepted share of val, beside the share that the file accepts
BATCH = 32
COMPARED = ("val", "test", "foreign")


@dataclass(frozen=True)
class Outputs:
    """For n images: the file's probabilities [n, K], log sums and accepted [n]; the checkpoint's features [n, D]."""

    ids: list[str]
    probabilities: np.ndarray
    log_sums: np.ndarray
    accepted: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class ForeignImages:
    """Images of another study's source. classes: the class names to take; all if empty."""

    study: str
    classes: Sequence[str] = ()

    @property
    def name(self) -> str:
        return f"{self.study} ({', '.join(self.classes)})" if self.classes else self.study


def foreign_rows(
    experiment: Experiment, foreign: Sequence[ForeignImages], limit: int, neighbours: int
) -> list[dict[str, object]]:
    """The rows of the table in results/foreign/: per foreign data set, accepted share of val and score.

    limit: images drawn of each foreign data set. neighbours: k of the nearest-neighbour score.
    """
    exported = stage_result(experiment, "export").folder
    file = OnnxClassifier(exported / "student.onnx", threads=1)
    checkpoint = load_checkpoint(stage_result(experiment, "shipped").folder)
    manifest = read_manifest(stage_result(experiment, "clean").folder)
    known = {
        split: outputs(file, checkpoint, decoded_images(experiment, manifest, split))
        for split in ("train", "val", "test")
    }
    shares = sorted({share for share in (read_acceptance(exported).share_accepted, SHARE) if share > 0})
    right = right_predictions(known["test"], file.classes, labels_by_id(manifest, "test"))
    rows: list[dict[str, object]] = []
    for images in foreign:
        sets = {**known, "foreign": outputs(file, checkpoint, drawn_images(experiment, images, limit))}
        scores = scores_of(sets, neighbours)
        image_rows = [foreign_row(name, values, right, share) for name, values in scores.items() for share in shares]
        image_rows.append(refusals("accept", {name: sets[name].accepted for name in COMPARED}, right))
        rows += [{"study": experiment.study.name, "foreign": images.name, **row} for row in image_rows]
    return rows


def right_predictions(outputs: Outputs, classes: Sequence[str], labels: Mapping[str, str]) -> np.ndarray:
    """bool [n]: whether the most probable class is the image's label. labels: id -> class name."""
    predicted = outputs.probabilities.argmax(axis=1)
    return np.array([classes[best] == labels[id_] for id_, best in zip(outputs.ids, predicted, strict=True)])


def scores_of(sets: Mapping[str, Outputs], neighbours: int) -> dict[str, dict[str, np.ndarray]]:
    """Score -> "val", "test" and "foreign" -> [n]. sets: these and "train"."""
    train = sets["train"].features
    compared = {name: sets[name] for name in COMPARED}
    return {
        "top_probability": {name: top_probability(outputs.probabilities) for name, outputs in compared.items()},
        "energy": {name: outputs.log_sums for name, outputs in compared.items()},
        "neighbour": {name: neighbour_score(outputs.features, train, neighbours) for name, outputs in compared.items()},
    }


def outputs(file: OnnxClassifier, checkpoint: Checkpoint, images: Iterable[tuple[str, np.ndarray]]) -> Outputs:
    """The outputs of file and checkpoint for images (id, uint8 [H, W, 3])."""
    ids, probabilities, logits, accepted, features = [], [], [], [], []
    size = height_width(checkpoint.preprocessing.input_px)
    classifier = for_inference(checkpoint.classifier, torch.device("cpu"), size)
    for batch in batched(images, BATCH):
        for id_, image in batch:
            ids.append(id_)
            probability, logit = file.predict(image)
            probabilities.append(probability)
            logits.append(logit)
            accepted.append(file.accepts(probability, logit))
        prepared = torch.stack([evaluation_transform(image, checkpoint.preprocessing) for _, image in batch])
        features.append(features_of(classifier, prepared))
    sums = log_sums(np.stack(logits))
    return Outputs(ids, np.stack(probabilities), sums, np.array(accepted), np.concatenate(features))


def drawn_images(experiment: Experiment, foreign: ForeignImages, limit: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (path, uint8 [H, W, 3]) for at most `limit` images of a foreign data set, drawn by the study's seed.

    Broken images are skipped.
    """
    other = replace(experiment, study=load_study(foreign.study))
    unknown = [name for name in foreign.classes if name not in other.source.classes]
    if unknown:
        raise UserError(f"{foreign.study} has no class {unknown[0]!r}; {nearest(unknown[0], other.source.classes)}")
    readable = [item for item in other.source.list_images() if not item.problem]
    paths = sorted(item.path for item in readable if not foreign.classes or item.given_label in foreign.classes)
    generator = np.random.default_rng(derived_seed(experiment.study.seed, "foreign", foreign.name))
    chosen = [paths[row] for row in np.sort(generator.permutation(len(paths))[:limit])]
    for path, content in progress(other.source.contents(chosen), f"reading {foreign.name}", len(chosen), "images"):
        if not isinstance(content, BrokenImage):
            try:
                yield path, decode(content)
            except BrokenImage:
                continue
