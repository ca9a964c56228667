"""The scores of a study's teacher, which is trained first if necessary."""

from decant.data.manifest import read_manifest
from decant.data.predictions import read_predictions
from decant.evaluation.scores import scores
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import stage_result


def teacher_scores(experiment: Experiment, name: str, split: str, tta: bool) -> dict[str, float]:
    """`decant.evaluation.scores` of the teacher on a split. tta: with the study's test-time augmentation."""
    folder = stage_result(experiment, f"predictions/{name}").folder
    manifest = read_manifest(stage_result(experiment, "clean").folder)
    rows = manifest.of_split(split)
    predictions = read_predictions(folder, split).aligned(list(rows["id"]))
    return scores(predictions.mean() if tta else predictions.members["identity"], manifest.targets(rows))
