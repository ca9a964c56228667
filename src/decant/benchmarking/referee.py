"""The referee: the same student trained with and without teachers, in arms with equal steps, over the same seeds."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from decant.benchmarking.teacher_scores import teacher_scores
from decant.data.manifest import dependent_groups, read_manifest
from decant.data.pixels import PixelCache
from decant.data.predictions import read_predictions
from decant.errors import UserError
from decant.evaluation.referee import UNKNOWN, Difference, level_of_looks, paired_difference, verdict
from decant.stages.shipped import ALONE, STUDENT
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.resolve import inputs_of, members, stage_result
from decant.stages.support.training_data import read_training_data
from decant.study import Student, Study, Training
from decant.workspace import record_of

SELF = "self"  # the teacher of self_distillation
SMOOTHING = 0.1  # of the arm label_smoothing
TRIED = {  # what each kind of arm may choose on val, after the study's own value
    STUDENT: ("hard_weight", (0.1, 0.5, 0.9)),
    ALONE: ("label_smoothing", (0.1, 0.0, 0.2)),
}
Overrides = list[str]
Make = Callable[[Sequence[str]], Experiment]  # the study with further `key=value` words


@dataclass(frozen=True)
class Arm:
    """A way to train the student. stage: `student` or `student_alone`. overrides: of the study."""

    stage: str
    overrides: Overrides


def arms_of(study: Study, unlabelled: int) -> dict[str, Arm]:
    """The arms of a study by name. unlabelled: how many of the student's images have no label to trust.

    An arm is left out where it would equal another one: `student_in_sample` without folds, `student_unlabelled`
    without such images. With such images, all other arms learn from the labelled ones alone.
    """
    labelled = ["student.unlabelled=false"] if unlabelled else []
    folded = [name for name, teacher in study.teachers.items() if teacher.folds]
    arms = {
        STUDENT: Arm(STUDENT, ["student.mode=replay", *labelled]),
        ALONE: Arm(ALONE, []),
        "label_smoothing": Arm(ALONE, [f"student.label_smoothing={SMOOTHING}"]),
        "self_distillation": Arm(STUDENT, ["student.mode=replay", *labelled, *self_teacher(study.student)]),
        "online": Arm(STUDENT, ["student.mode=online", *labelled]),
        "frozen": Arm(STUDENT, ["student.mode=frozen", *labelled]),
    }
    if folded:
        in_sample = [f"teachers.{name}.folds=0" for name in folded]
        arms["student_in_sample"] = Arm(STUDENT, ["student.mode=replay", *labelled, *in_sample])
    if unlabelled:
        arms["student_unlabelled"] = Arm(STUDENT, ["student.mode=replay", "student.unlabelled=true"])
    return arms


def self_teacher(student: Student) -> Overrides:
    """Overrides that make the student's own network and training the only teacher."""
    shared = student.model_dump(mode="json", include=set(Training.model_fields))
    return [f"teachers={json.dumps({SELF: shared})}", "ensemble.pooling=equal"]


def with_same_cache(make: Make) -> Make:
    """`make` with the cache size of the plain study, so that all arms see the same pixels whatever their networks."""
    pixels = PixelCache(stage_result(make([]), "pixels").folder).levels[0].shape[1:3]
    return lambda words: make([f"data.cache_px={json.dumps(list(map(int, pixels)))}", *words])


def require_same_inputs(name: str, experiment: Experiment, plain: Experiment) -> None:
    """Raise UserError if the networks of an arm or a student would see other pixels or another part of an image."""
    inputs_seen = [
        (input_geometry(compared, stage_result(compared, "clean")), stage_result(compared, "pixels").fingerprint)
        for compared in (experiment, plain)
    ]
    if inputs_seen[0] != inputs_seen[1]:
        raise UserError(
            f"{name}: its networks would change the geometry of the study's inputs, and all trainings with it; set "
            "geometry.fit and geometry.aspect in the study (its geometry.json has the values)"
        )


def unlabelled_images(experiment: Experiment) -> int:
    """How many of the images that the student may see have no label to trust."""
    data = read_training_data(inputs_of(experiment, ALONE))
    return len(data.cache) - len(data.labels.labelled)


class Referee:
    """One comparison of arms. make: returns the study with further overrides. seeds: how many at most.

    trials: how many settings the student and its twin may try on val. Other arms with teachers get the setting that
    the student chose, arms without teachers the twin's.
    """

    def __init__(self, make: Make, arms: Mapping[str, Arm], setting: str, trials: int, seeds: int) -> None:
        self.make, self.setting, self.trials, self.seeds = with_same_cache(make), setting, trials, seeds
        self.arms = dict(arms)
        self.chosen: dict[str, Overrides] = {}

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield a row of `metrics.csv` per training, seed after seed; ends early when the verdict is known.

        The student and its twin are trained first. Finished trainings are kept.
        """
        for kind in TRIED:
            self.chosen[kind] = self.tuned(kind)
        self.arms = {name: self.arms[name] for name in self.different()}
        for name in self.arms:
            require_same_inputs(f"arm {name}", self.experiment(name, 0), self.make([]))
        for seed in range(self.seeds):
            for name in self.arms:
                yield self.row(name, seed)
            if self.verdict(seed + 1) != UNKNOWN:
                return

    def different(self) -> list[str]:
        """The arms, without those whose study equals an earlier arm's, such as a twin that chose a smoothing of 0.1."""
        names: dict[tuple[str, str], str] = {}
        for name, arm in self.arms.items():
            names.setdefault((arm.stage, self.experiment(name, 0).study.model_dump_json()), name)
        return list(names.values())

    def tuned(self, kind: str) -> Overrides:
        """Overrides with the best setting of the arm `kind`, by the study's metric on val; none for one trial."""
        key, further_values = TRIED[kind]
        arm = self.arms[kind]
        study = self.make(arm.overrides).study
        values = list(dict.fromkeys([getattr(study.student, key), *further_values]))[: self.trials]
        if len(values) == 1:
            return []
        score_of = {}
        for value in values:
            experiment = self.make([*arm.overrides, f"student.{key}={json.dumps(value)}"])
            val_scores = teacher_scores(experiment, arm.stage, "val", tta=False)
            score_of[value] = val_scores[study.metric], -val_scores["nll"]
        return [f"student.{key}={json.dumps(max(score_of, key=score_of.__getitem__))}"]

    def experiment(self, name: str, seed: int) -> Experiment:
        """The study of an arm with the chosen setting and one repetition of the training."""
        arm = self.arms[name]
        return self.make([*self.chosen[arm.stage], *arm.overrides, f"student.repetition={seed}"])

    def row(self, name: str, seed: int) -> dict[str, object]:
        """The row of `metrics.csv` for one training, which is done if it is not finished."""
        experiment, stage = self.experiment(name, seed), self.arms[name].stage
        student, trained = experiment.study.student, stage_result(experiment, stage)
        history = pd.read_csv(trained.folder / "history.csv")
        data = read_training_data(inputs_of(experiment, stage))
        labelled = stage == ALONE or not student.unlabelled
        rows = len(data.labels.labelled) if labelled else len(data.cache)
        steps = max(1, rows // student.batch_size)
        stored = stage == STUDENT and student.mode == "replay"
        views = min(experiment.study.soft_labels.views, len(history)) if stored else len(history)
        val, test = (teacher_scores(experiment, stage, split, tta=False) for split in ("val", "test"))
        return {
            "setting": self.setting,
            "arm": name,
            "student": student.architecture,
            "init": json.loads((trained.folder / "model.json").read_text(encoding="utf-8"))["card"]["weights"],
            "chosen": " ".join(self.chosen[self.arms[name].stage]),
            "seed": seed,
            "steps": steps * len(history),
            "views": views,
            "epoch_s": round(float(np.median(steps * student.batch_size / history["images_per_second"])), 1),
            "wall_s": round(record_of(trained.folder)["seconds"], 1),
            "val_accuracy": val["accuracy"],
            "accuracy": test["accuracy"],
            "nll": test["nll"],
        }

    def difference(self, name: str, other: str, seeds: int) -> Difference:
        """The difference of two arms' accuracy on test, over the first `seeds` seeds."""
        first = self.experiment(name, 0)
        manifest = read_manifest(stage_result(first, "clean").folder)
        rows = manifest.of_split("test")
        targets, groups = manifest.targets(rows), dependent_groups(rows)

        def correct(arm: str) -> np.ndarray:
            of_seeds = []
            for seed in range(seeds):
                folder = stage_result(self.experiment(arm, seed), f"predictions/{self.arms[arm].stage}").folder
                predicted = read_predictions(folder, "test").aligned(list(rows["id"])).members["identity"]
                of_seeds.append(predicted.argmax(axis=1) == targets)
            return np.stack(of_seeds)

        return paired_difference(correct(name), correct(other), groups, level_of_looks(self.seeds))

    def verdict(self, seeds: int) -> str:
        return verdict(self.difference(STUDENT, ALONE, seeds))

    def comparisons(self, seeds: int) -> list[dict[str, object]]:
        """A row of `comparisons.csv` per other arm, compared with the student; the row of the twin is primary."""
        rows = []
        for other in (name for name in self.arms if name != STUDENT):
            difference, primary = self.difference(STUDENT, other, seeds), other == ALONE
            teacher_minutes = teacher_seconds(self.experiment(STUDENT, 0)) / 60 if primary else None
            rows.append(
                {
                    "setting": self.setting,
                    "arm": STUDENT,
                    "other": other,
                    "primary": primary,
                    "seeds": seeds,
                    "seeds_above_zero": int((difference.of_seeds > 0).sum()),
                    "accuracy_difference": difference.mean,
                    "accuracy_difference_low": difference.low,
                    "accuracy_difference_high": difference.high,
                    "level": level_of_looks(self.seeds),
                    "teacher_minutes": teacher_minutes,
                    "points_per_teacher_minute": 100 * difference.mean / teacher_minutes if teacher_minutes else None,
                    "verdict": verdict(difference) if primary else None,
                }
            )
        return rows


def teacher_seconds(experiment: Experiment) -> float:
    """Seconds that the student costs more than its twin: training the teachers and storing their labels."""
    stages = [f"{family}/{name}" for family in ("teachers", "soft_labels") for name in members(experiment, family)]
    return sum(float(record_of(stage_result(experiment, stage).folder)["seconds"]) for stage in stages)
