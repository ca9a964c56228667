"""The study that is proposed for photos, as large as the time allows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from decant.errors import UserError
from decant.evaluation.tables import minutes
from decant.models.backbones import has_fixed_input
from decant.proposal.networks import Choice, NetworkSet, in_study, recipe_settings
from decant.stages.support.expected_time import Counts, expected_seconds
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import Possible, possible_geometries
from decant.stages.support.plan import stage_names
from decant.stages.support.sample import Sample
from decant.stages.support.speed import Speed
from decant.study import Study, Training
from decant.study_files import ROOT, merged_recipes, set_key, without_nulls
from decant.study_reading import explained

FEW_IMAGES, MANY_IMAGES = 300, 8000  # of train; between them the recipes' epochs are kept
LEAST_PX, PX_STEP = 64, 32
MOST_EPOCHS_FACTOR = 3.0
USUAL_S = 25 * 60  # what a study may take if no limit is given


@dataclass(frozen=True)
class Effort:
    """How much of the recipes a study takes. epochs: factor. largest_px: of inputs. finetuned: number of teachers."""

    epochs: float = 1.0
    largest_px: int | None = None
    finetuned: int | None = None
    views: int = 8


# A time limit lowers them step by step: first the largest inputs, then epochs, slower teachers and more pixels.
EFFORTS = (
    Effort(),
    Effort(largest_px=128),
    Effort(epochs=0.5, largest_px=128, views=4),
    Effort(epochs=0.5, finetuned=1, largest_px=128, views=4),
    Effort(epochs=0.5, finetuned=1, largest_px=96, views=4),
    Effort(epochs=0.25, finetuned=1, largest_px=96, views=2),
    Effort(epochs=0.25, finetuned=0, largest_px=LEAST_PX, views=2),
)


@dataclass(frozen=True)
class Facts:
    """Facts about the photos and the machine: counts of images, and a sample that was read and timed."""

    counts: Counts
    sample: Sample

    @property
    def speed(self) -> Speed:
        return Speed(self.sample.decode_s)


@dataclass(frozen=True)
class Proposed:
    """raw: the mapping of the study file. study: the same with its recipes. seconds: expected for the chain.

    possible: the study's geometry, or the geometries that probes will compare, judged by the sample.
    """

    raw: dict[str, Any]
    study: Study
    possible: Possible
    seconds: float


def proposed_study(
    head: Mapping[str, Any], overrides: Sequence[str], choice: Choice, facts: Facts, limit_s: float | None
) -> Proposed:
    """The largest study that fits the limit. head: its first keys, data among them. overrides: KEY=VALUE of other keys.

    Without a limit it is the largest study that fits USUAL_S, else the smallest. Raises UserError, with the expected
    time of the smallest study, if none fits the limit.
    """
    proposed = None
    for proposed in proposals(head, overrides, choice.networks, facts):
        if proposed.seconds <= (limit_s or USUAL_S):
            return proposed
    assert proposed is not None
    if limit_s is None:
        return proposed
    raise UserError(
        f"--time-limit: the smallest study for these {facts.counts.total} photos takes about "
        f"{minutes(proposed.seconds)} min here, and {minutes(limit_s)} min are allowed; allow more, or take fewer "
        "photos with --set data.limit=50 (per class)"
    )


def proposals(
    head: Mapping[str, Any], overrides: Sequence[str], networks: NetworkSet, facts: Facts
) -> Iterator[Proposed]:
    """A study for each effort, the largest first, with the time that its stages are expected to take."""
    required = teachers_of(overrides)
    for effort in EFFORTS:
        raw = {**head, **sections(networks, facts, effort, required)}
        for override in overrides:
            set_key(raw, override)
        with explained("--set"):
            study = Study.model_validate(without_nulls(merged_recipes(raw, ROOT)))
        possible = possible_geometries(study, facts.sample.shapes)
        names = stage_names(Experiment(study, Path()), {})
        seconds = expected_seconds(study, names, facts.counts, facts.speed, possible.probed)
        yield Proposed(raw, study, possible, sum(seconds.values()))


def teachers_of(overrides: Sequence[str]) -> set[str]:
    """The teachers of which an override sets a key."""
    paths = (override.partition("=")[0].split(".") for override in overrides)
    return {path[1] for path in paths if path[0] == "teachers" and len(path) > 2}


def sections(
    networks: NetworkSet, facts: Facts, effort: Effort, required: Collection[str] = frozenset()
) -> dict[str, Any]:
    """The sections teachers, ensemble, soft_labels and student. required: teachers that every effort keeps."""
    effort = replace(effort, epochs=effort.epochs * epochs_factor(facts.counts.train))
    teachers = {name: network(networks.teachers[name], "teacher", networks.teacher_px, facts, effort)
                for name in kept_teachers(networks, facts.speed, effort.finetuned, required)}  # fmt: skip
    return {
        "teachers": teachers,
        "ensemble": {"recipe": "flip"},
        "soft_labels": {"views": effort.views},
        "student": network(networks.student, "student", networks.student_px, facts, effort),
    }


def kept_teachers(
    networks: NetworkSet, speed: Speed, finetuned: int | None, required: Collection[str] = frozenset()
) -> list[str]:
    """The probes, the required teachers and the `finetuned` fastest others, in the set's order; all if None."""
    settings = {name: recipe_settings("teacher", recipe) for name, recipe in networks.teachers.items()}
    trained = [name for name, teacher in settings.items() if getattr(teacher, "kind", "") == "finetune"]
    if finetuned is None or len(trained) <= finetuned:
        return list(settings)
    fastest = sorted(trained, key=lambda name: speed.train_s(settings[name]))[:finetuned]
    return [name for name in settings if name not in trained or name in fastest or name in required]


def epochs_factor(images: int) -> float:
    """A factor for the epochs of the recipes: few images need more passes, and with many, fewer suffice."""
    if images > MANY_IMAGES:
        return MANY_IMAGES / images
    return min(MOST_EPOCHS_FACTOR, max(1.0, FEW_IMAGES / max(1, images)))


def network(recipe: str, kind: str, largest_px: int, facts: Facts, effort: Effort) -> dict[str, Any]:
    """The section of a teacher or of the student."""
    settings = recipe_settings(kind, recipe)
    px = input_px(settings, min(largest_px, effort.largest_px or largest_px), facts.sample.shorter_px)
    epochs = max(1, round(settings.epochs * effort.epochs))
    unchanged = getattr(settings, "kind", "") == "probe" or epochs == settings.epochs
    return in_study(recipe, px, None if unchanged else epochs)


def input_px(settings: Training, largest_px: int, shorter_px: int) -> int | None:
    """A side no longer than the images have; None for a network whose weights fit one size."""
    if has_fixed_input(settings.architecture):
        return None
    rounded_up = -(-shorter_px // PX_STEP) * PX_STEP
    return max(LEAST_PX, min(largest_px, rounded_up))
