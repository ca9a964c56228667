"""Ablations of a teacher: the same training with one change at a time, over the same seeds."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decant.benchmarking.teacher_scores import teacher_scores
from decant.errors import UserError, nearest
from decant.evaluation.tables import minutes
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import stage_result
from decant.study_files import read_yaml
from decant.workspace import record_of

OF_STUDY = "study."  # prefix of a key that belongs to the study, not to the teacher
UNCHANGED = "none"  # the change of the trainings that all others are compared with
KEYS = ("study", "teacher", "changes")


@dataclass(frozen=True)
class Ablations:
    """The content of a file of `research/ablations/`.

    study: its name or file. teacher: keys with values, also `recipe`. changes: name -> keys with other values.
    """

    study: str
    teacher: Mapping[str, Any]
    changes: Mapping[str, Mapping[str, Any]]


def read_ablations(path: Path) -> Ablations:
    """Read a file of `research/ablations/`. Raises UserError if a key is missing or unknown."""
    content = read_yaml(path)
    for key in content.keys() - set(KEYS):
        raise UserError(f"{path}: unknown key {key}; {nearest(str(key), KEYS)}")
    for key in (key for key in KEYS if not content.get(key)):
        raise UserError(f"{path}: {key} is missing")
    teacher, changes = content["teacher"], content["changes"]
    if not isinstance(teacher, dict) or not isinstance(changes, dict):
        raise UserError(f"{path}: teacher must map keys to values, and changes must map names to such mappings")
    if "recipe" not in teacher:
        raise UserError(f"{path}: teacher.recipe is missing; name a file of research/recipes")
    if UNCHANGED in changes:
        raise UserError(f"{path}: the change {UNCHANGED} is always there; give this one another name")
    return Ablations(str(content["study"]), teacher, {UNCHANGED: {}, **changes})


def overrides(ablations: Ablations, change: str, seeds: int) -> list[str]:
    """The study with a change as `key=value` overrides: its teachers are `seed0`, `seed1` … and differ in nothing else.

    Teachers of the same name have the same seed, so the trainings of all changes are paired.
    """
    changed = ablations.changes[change]
    of_study = {key.removeprefix(OF_STUDY): value for key, value in changed.items() if key.startswith(OF_STUDY)}
    teacher = {**ablations.teacher, **{key: value for key, value in changed.items() if not key.startswith(OF_STUDY)}}
    words = ["teachers={}", f"name={Path(ablations.study).stem}_ablations"]
    words += [f"{key}={json.dumps(value)}" for key, value in of_study.items()]
    for seed in range(seeds):
        words.append(f"teachers.{teacher_of(seed)}.recipe={json.dumps(teacher['recipe'])}")
        words += [
            f"teachers.{teacher_of(seed)}.{key}={json.dumps(value)}"
            for key, value in teacher.items()
            if key != "recipe"
        ]
    return words


def teacher_of(seed: int) -> str:
    return f"seed{seed}"


def ablation_rows(experiments: Mapping[str, Experiment], study: str, seeds: int) -> Iterator[dict[str, object]]:
    """Yield a row of `ablations.csv` per training, one seed after the other; finished trainings are kept.

    experiments: change -> the study with it, from `overrides`.
    """
    for seed in range(seeds):
        for change, experiment in experiments.items():
            yield {"study": study, "change": change, "seed": seed, **trained_scores(experiment, teacher_of(seed))}


def trained_scores(experiment: Experiment, name: str) -> dict[str, object]:
    """Train a teacher and score it on val and test, without test-time augmentation."""
    trained = stage_result(experiment, f"teachers/{name}")
    val, test = (teacher_scores(experiment, name, split, tta=False) for split in ("val", "test"))
    return {
        "minutes": minutes(record_of(trained.folder)["seconds"]),
        "val_accuracy": val["accuracy"],
        "val_nll": val["nll"],
        "test_accuracy": test["accuracy"],
    }
