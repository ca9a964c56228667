"""How long the stages of a study may take on this machine: an estimate from timed steps, right to a factor of two.

A training step and a decoded image are timed once; the rest is counted: images, epochs, stored views, folds, probes.
The times of export, int8 and the tables hardly depend on the study: they are taken from earlier runs, else from
SECONDS_OF.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from decant.data.sources.base import ListedImage
from decant.stages import REFIT, STUDENTS
from decant.stages.support.input_geometry import PROBE_IMAGES, probe_encoder
from decant.stages.support.sample import is_usable
from decant.stages.support.speed import Speed
from decant.stages.support.training_data import learns_from_predict
from decant.study import Data, Student, Study, Teacher, Training

ASKS_FOR_GEOMETRY = "pixels"  # the first stage that needs the geometry
CARD_IMAGES = 200  # calibration, verification at several batch sizes: passes over about as many images
SECONDS_OF = {"clean": 5.0, "export": 15.0, "int8": 45.0, "benchmarks/precision": 15.0, "benchmarks/latency": 45.0}


@dataclass(frozen=True)
class Counts:
    """How many images are in each split, before cleaning."""

    train: int
    val: int
    test: int
    predict: int = 0
    unlabelled: int = 0

    @property
    def without_label(self) -> int:
        return self.predict + self.unlabelled

    @property
    def total(self) -> int:
        return self.train + self.val + self.test + self.without_label


def counted(items: Iterable[ListedImage], data: Data) -> Counts:
    """The usable images of a source by split; missing splits are counted as they will be drawn."""
    images = {"train": 0, "val": 0, "test": 0, "predict": 0, "unlabelled": 0, "": 0}
    for item in filter(is_usable, items):
        if item.given_label is None:
            images["predict" if item.split == "predict" else "unlabelled"] += 1
        else:
            images[item.split or ""] += 1
    pool = images["train"] + images[""]
    val = images["val"] or round(pool * data.val_fraction)
    test = images["test"] or round(pool * data.test_fraction)
    train = pool - (0 if images["val"] else val) - (0 if images["test"] else test)
    hidden = round(train * (1 - data.labelled_share))
    return Counts(train - hidden, val, test, images["predict"], images["unlabelled"] + hidden)


def expected_seconds(study: Study, names: Iterable[str], counts: Counts, speed: Speed, probed: int) -> dict[str, float]:
    """Stage name -> expected seconds, for the stages `names` of the study.

    probed: number of geometries that are still to be compared by probes. The first stage that needs to know the
    geometry waits for them.
    """
    seconds = {name: stage_seconds(study, name, counts, speed) for name in names}
    if ASKS_FOR_GEOMETRY in seconds:
        seconds[ASKS_FOR_GEOMETRY] += probed * probe_seconds(study, counts, speed)
    return seconds


def probe_seconds(study: Study, counts: Counts, speed: Speed) -> float:
    """Seconds for one geometry: images of train and val, decoded and passed through the encoder of the probes."""
    images = min(counts.train + counts.val, PROBE_IMAGES)
    return images * (speed.decode_s + speed.forward_s(probe_encoder(study)))


def stage_seconds(study: Study, name: str, counts: Counts, speed: Speed) -> float:
    if name.startswith(REFIT):
        labelled = replace(counts, train=counts.train + counts.val + counts.test, val=0, test=0)
        without_refit = study.model_copy(update={"final": "none"})
        return stage_seconds(without_refit, name.removeprefix(REFIT), labelled, speed)
    family, _, member = name.partition("/")
    fixed = SECONDS_OF.get(name, 2.0)
    decoding = counts.total * speed.decode_s
    if family in ("manifest", "pixels"):
        return fixed + decoding
    if family == "clean":  # features of each image and of its mirror image
        return fixed + decoding + 2 * counts.total * speed.forward_s(study.clean.encoder)
    if family == "teachers":
        return fixed + teacher_seconds(study.teachers[member], counts, speed)
    if family == "predictions":
        network = study.student if member in STUDENTS else study.teachers[member]
        views = 1 if member in STUDENTS else 1 + len(study.ensemble.tta)
        models = getattr(network, "folds", 0) or 1
        images = counts.val + counts.test + counts.predict
        return fixed + images * (speed.decode_s + views * models * speed.forward_s(network))
    if family == "soft_labels":
        return fixed + study.soft_labels.views * distilled(study, counts) * speed.forward_s(study.teachers[member])
    if family in STUDENTS:  # the twin takes as many steps as the student
        images = distilled(study, counts)
        passes = passes_of_teachers(study.student) if family == "student" else 0
        teachers = sum(speed.forward_s(teacher) for teacher in study.teachers.values())
        return fixed + training_seconds(study.student, images, counts, speed) + passes * images * teachers
    if family in ("export", "int8"):
        images = counts.val + counts.test + counts.predict + CARD_IMAGES
        return fixed + images * (speed.decode_s + 4 * speed.forward_s(study.student))
    return fixed


def distilled(study: Study, counts: Counts) -> int:
    """How many images the student learns from, with and without a label."""
    unlabelled = counts.unlabelled * study.soft_labels.unlabelled
    return counts.train + unlabelled + counts.predict * learns_from_predict(study, "student")


def passes_of_teachers(student: Student) -> int:
    """How often the teachers label each image while the student is trained."""
    return {"replay": 0, "online": student.epochs, "frozen": 1}[student.mode]


def teacher_seconds(teacher: Teacher, counts: Counts, speed: Speed) -> float:
    """Seconds of training a teacher; each fold trains on all other folds."""
    models, images = max(1, teacher.folds), float(counts.train)
    if teacher.folds:
        images *= (teacher.folds - 1) / teacher.folds
    if teacher.kind == "probe":
        return models * 2 * (images + counts.val) * speed.forward_s(teacher)
    return models * training_seconds(teacher, images, counts, speed)


def training_seconds(settings: Training, images: float, counts: Counts, speed: Speed) -> float:
    """Seconds of all epochs, and of the features to which a head is fitted."""
    head = 2 * (min(images, counts.train) + counts.val) * speed.forward_s(settings) if settings.fits_head else 0.0
    return settings.epochs * speed.epoch_s(settings, images, counts.val) + head


def corrected(expected: Mapping[str, float], taken: Mapping[str, float]) -> float:
    """Seconds left: the expected seconds of the unfinished stages, scaled by how long the finished ones took.

    taken: seconds of the finished stages that this process built. The scale is measured over expected seconds, with
    a minute added to both: it starts at 1, and a few short stages hardly change it.
    """
    expected_left = sum(seconds for name, seconds in expected.items() if name not in taken)
    damping_s = 60.0
    expected_of_taken = sum(expected[name] for name in taken if name in expected)
    return expected_left * (sum(taken.values()) + damping_s) / (expected_of_taken + damping_s)
