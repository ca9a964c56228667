"""Stage export: the student alone as ONNX, scored, described and verified from image file to class on val."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decant.data.manifest import Manifest
from decant.data.predictions import read_predictions
from decant.ensemble.calibration import fit_temperature
from decant.errors import UserError
from decant.export.examples import write_examples
from decant.export.student import export_student
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import load_checkpoint
from decant.stages.ensemble import ensemble
from decant.stages.predictions import predictions
from decant.stages.student import student
from decant.stages.support.experiment import Experiment
from decant.stages.support.onnx_predictions import decoded, describe_file, evaluation, labels_of, origin, write_answers
from decant.stages.support.training_data import read_cleaned
from decant.workspace import StageResult, write_json

VERSION = 5  # 5: verified on all of val, with labels; 4: resized by matrix products


def export(experiment: Experiment) -> StageResult:
    """`student.onnx`, its bare graph, `classes.txt`, `preprocessing.json`, two examples, `MODEL_CARD.md`,
    `verification.json` and the file's own predictions of every split.

    Raises UserError when the file does not answer as the student does.
    """
    trained = student(experiment)
    answers = predictions(experiment, "student", trained)
    study = experiment.study

    def build(folder: Path) -> None:
        manifest = read_cleaned(experiment)
        checkpoint = load_checkpoint(trained.folder)
        file = folder / "student.onnx"
        metadata = {**origin(experiment, trained), "precision": "fp32"}
        export_student(checkpoint, folder, val_temperature(manifest, answers.folder), metadata)
        write_examples(folder)
        write_answers(experiment, manifest, file, folder / "predictions")
        describe_file(file, evaluation(manifest, folder / "predictions", "student_onnx"))
        pictures, labels = decoded(experiment, manifest, "val"), labels_of(manifest, "val")
        result = verify(file, pictures, TorchReference(checkpoint), labels=labels)
        write_json(folder / "verification.json", result)
        refuse(file, result)

    section = {"title": study.title, "licence": study.export.licence}
    reads = [trained, answers, ensemble(experiment)]
    return experiment.workspace.stage("export", section, reads, VERSION, build)


def val_temperature(manifest: Manifest, answers: Path) -> float:
    """The temperature that makes the student's answers to val most likely."""
    val = manifest.of_split("val")
    identity = read_predictions(answers, "val").aligned(list(val["id"])).members["identity"]
    return float(fit_temperature(identity, manifest.targets(val)))


def refuse(file: Path, result: dict[str, Any], but: Sequence[str] = ()) -> None:
    """UserError where gates failed. result: of `verify`. but: gates that may."""
    failed = [name for name, gate in result["gates"].items() if gate["passed"] is False and name not in but]
    if failed:
        raise UserError(f"{file} failed {', '.join(failed)}; see verification.json beside it")
