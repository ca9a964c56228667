"""Stage export: the shipped model as ONNX, scored, described and verified from image file to class on val."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from decant.data.manifest import Manifest, read_manifest
from decant.data.predictions import read_predictions
from decant.ensemble.calibration import fit_temperature
from decant.errors import UserError
from decant.export.examples import write_examples
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import load_checkpoint
from decant.stages.shipped import read_choice
from decant.stages.support.checkpoints import model_folders
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import (
    acceptance,
    decoded_images,
    describe_file,
    evaluation,
    labels_by_id,
    write_onnx_predictions,
)
from decant.stages.support.resolve import Inputs
from decant.stages.support.tracked import artifact, flat
from decant.stages.support.weights import active_teachers, read_weights
from decant.tracking import Artifact, Record
from decant.workspace import write_json

ORIGIN = ("study", "title", "licence", "student", "choice", "data", "data_digest", "teachers", "code")
VERSION = 14  # 14: accepted predictions count groups; 13: the card's intervals resample groups


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    study = experiment.study
    accept = study.export.model_dump(include={"accept_precision"}, exclude_defaults=True)
    return {"study": study.name, "title": study.title, "licence": study.export.licence, **accept}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `student.onnx`, its bare graph, `classes.txt`, `preprocessing.json`, `accept.json`, two examples,
    `MODEL_CARD.md`, `verification.json` and the file's own predictions of every split.

    Raises UserError if the file's predictions are not the student's.
    """
    manifest = read_manifest(inputs.folder("clean"))
    checkpoint, choice = load_checkpoint(inputs.folder("shipped")), read_choice(inputs.folder("shipped"))
    file = folder / "student.onnx"
    temperature = val_temperature(manifest, inputs.folder(f"predictions/{choice['shipped']}"))
    export_student(checkpoint, folder, temperature, {**origin(experiment, inputs), "dtype": "fp32"})
    write_examples(folder)
    predictions = folder / "predictions"
    write_onnx_predictions(experiment, manifest, file, predictions)
    accepted = acceptance(manifest, predictions, experiment.study.export.accept_precision)
    describe_file(file, evaluation(manifest, predictions, "student_onnx"), accepted)
    images, labels = decoded_images(experiment, manifest, "val"), labels_by_id(manifest, "val")
    report = verify(file, images, TorchReference(checkpoint), labels=labels)
    write_json(folder / "verification.json", report)
    check_gates(file, report)


def records(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> Iterator[Record]:
    report = json.loads((folder / "verification.json").read_text(encoding="utf-8"))
    summary = {"file_mb": (folder / "student.onnx").stat().st_size / 1e6, **flat(report)}
    yield Record(summary=summary, artifacts=artifacts(name, folder, experiment.study.data.may_be_shared))


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    described = ["classes.txt", "preprocessing.json", "accept.json", "MODEL_CARD.md", "verification.json"]
    return [artifact("student-onnx", "model", folder, ["student.onnx", *described])]


def val_temperature(manifest: Manifest, predictions: Path) -> float:
    """The temperature that maximises the likelihood of val under the student's predictions."""
    val = manifest.of_split("val")
    identity = read_predictions(predictions, "val").aligned(list(val["id"])).members["identity"]
    return float(fit_temperature(identity, manifest.targets(val)))


def origin(experiment: Experiment, inputs: Inputs) -> dict[str, str]:
    """Metadata of a file: the study, why this model was chosen, and the digests of data, teachers, model and code."""
    study = experiment.study
    return {
        "study": study.name,
        "title": study.title,
        "licence": study.export.licence,
        "student": inputs["shipped"].fingerprint,
        "choice": json.dumps(read_choice(inputs.folder("shipped"))),
        "data": inputs["clean"].fingerprint,
        "data_digest": experiment.data_digest,
        "teachers": json.dumps(described_teachers(inputs), ensure_ascii=False),
        "code": experiment.workspace.code,
    }


def origin_of(exported: OnnxClassifier) -> dict[str, str]:
    """The metadata of `origin`, read from an exported file."""
    return {key: exported.metadata[key] for key in ORIGIN}


def described_teachers(inputs: Inputs) -> dict[str, dict[str, object]]:
    """Name -> network, weight in the ensemble and fingerprint, of each active teacher."""
    weights = read_weights(inputs.folder("ensemble"))
    weight_of = dict(zip(weights.names, weights.weights, strict=True))
    described = {}
    for name in active_teachers(weights):
        trained = inputs[f"teachers/{name}"]
        card = json.loads((model_folders(trained.folder)[0] / "model.json").read_text(encoding="utf-8"))["card"]
        described[name] = {
            "architecture": card["architecture"],
            "weights": card["weights"],
            "weight": round(float(weight_of[name]), 4),
            "fingerprint": trained.fingerprint,
        }
    return described


def check_gates(file: Path, report: Mapping[str, Any], may_fail: Sequence[str] = ()) -> None:
    """Raise UserError if gates failed. report: of `verify`. may_fail: gates that are allowed to fail."""
    failed = [name for name, gate in report["gates"].items() if gate["passed"] is False and name not in may_fail]
    if failed:
        raise UserError(f"{file} failed {', '.join(failed)}; see verification.json beside it")
