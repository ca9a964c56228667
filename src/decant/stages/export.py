"""Stage export: the student alone as ONNX, verified from image file to class on val."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decant import __version__
from decant.data.images import decode
from decant.data.manifest import Manifest
from decant.data.predictions import Predictions, read_predictions, write_predictions
from decant.ensemble.calibration import fit_temperature
from decant.errors import UserError
from decant.export.examples import write_examples
from decant.export.reference import TorchReference
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.export.verify import verify
from decant.models.checkpoint import load_checkpoint
from decant.stages.clean import clean
from decant.stages.experiment import Experiment
from decant.stages.labels import read_cleaned
from decant.stages.predictions import SPLITS, predictions
from decant.stages.student import student
from decant.tracking import progress
from decant.workspace import Finished, write_json

log = logging.getLogger(__name__)
VERSION = 2  # 2: examples beside the file
VERIFIED_PICTURES = 1000  # at most, spread evenly over val


def export(experiment: Experiment) -> Finished:
    """`student.onnx`, `classes.txt`, two examples, `verification.json` and the file's own predictions of every split.

    Raises UserError when the file does not answer as the student does.
    """
    trained = student(experiment)
    answers = predictions(experiment, "student", trained)

    def build(folder: Path) -> None:
        manifest = read_cleaned(experiment)
        checkpoint = load_checkpoint(trained.folder)
        val = manifest.of_split("val")
        identity = read_predictions(answers.folder, "val").aligned(list(val["id"])).members["identity"]
        temperature = float(fit_temperature(identity, manifest.targets(val)))
        metadata = {
            "study": experiment.study.name,
            "student": trained.fingerprint,
            "data": clean(experiment).fingerprint,
            "code": f"decant {__version__}",
            "precision": "fp32",
        }
        export_student(checkpoint, folder, temperature, metadata)
        write_examples(folder)
        pictures = list(decoded(experiment, manifest, "val", VERIFIED_PICTURES))
        result = verify(folder / "student.onnx", pictures, TorchReference(checkpoint))
        write_json(folder / "verification.json", result)
        if not result["passed"]:
            failed = [name for name, gate in result["gates"].items() if gate["passed"] is False]
            raise UserError(f"{folder / 'student.onnx'} failed {', '.join(failed)}; see verification.json beside it")
        for split in SPLITS:
            if len(manifest.of_split(split)):
                write_predictions(folder / "predictions", split, onnx_predictions(experiment, manifest, split, folder))

    return experiment.workspace.stage("export", {}, [trained, answers], VERSION, build)


def decoded(
    experiment: Experiment, manifest: Manifest, split: str, most: int | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """(id, uint8 [H, W, 3]) of a split's pictures, at most `most`, spread evenly."""
    rows = manifest.of_split(split)
    if most is not None and len(rows) > most:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, most).astype(int)]
    for id_, data in progress(experiment.pictures(rows), f"decoding {split}", len(rows), "images"):
        yield id_, decode(data)


def onnx_predictions(experiment: Experiment, manifest: Manifest, split: str, folder: Path) -> Predictions:
    """The file's answers, one picture at a time, as its users ask it."""
    classifier = OnnxClassifier(folder / "student.onnx")
    ids, rows = [], []
    for id_, picture in decoded(experiment, manifest, split):
        probabilities, _ = classifier.predict(picture)
        ids.append(id_)
        rows.append(np.log(np.maximum(probabilities, 1e-30)))
    return Predictions(ids, {"identity": np.stack(rows).astype(np.float32)})
