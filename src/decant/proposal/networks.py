"""Which networks a proposed study takes: the first set of research/choice.yaml that this machine can have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decant.errors import UserError
from decant.models.backbones import build_classifier
from decant.models.weights import HUBS, is_cached
from decant.study import Student, Teacher, Training
from decant.study_files import RECIPE_FOLDERS, ROOT, read_yaml

CHOICE = "research/choice.yaml"
CLASSES = 2  # of the network that is built to check that weights fit


@dataclass(frozen=True)
class NetworkSet:
    """A row of the list. teachers: name -> recipe. teacher_px, student_px: largest inputs, pixels."""

    name: str
    device: str
    teachers: Mapping[str, str]
    student: str
    teacher_px: int
    student_px: int


@dataclass(frozen=True)
class Choice:
    """The set that is taken. passed_over: set that is preferred for this device -> why it is not taken."""

    networks: NetworkSet
    passed_over: Mapping[str, str]


def network_sets(root: Path = ROOT) -> list[NetworkSet]:
    """The rows of research/choice.yaml, the preferred one first."""
    rows = read_yaml(root / CHOICE)
    return [NetworkSet(name=name, **row) for name, row in rows.items()]


def chosen_networks(device: str, allow_downloads: bool, root: Path = ROOT) -> Choice:
    """The first set for this device whose weights are all available.

    Weights of a hub are available if they are in its cache, or if downloads are allowed and succeed: they are fetched
    here, as a training would. device: cuda or cpu. Raises UserError if no set is available.
    """
    passed_over: dict[str, str] = {}
    for networks in network_sets(root):
        if networks.device not in (device, "any"):
            continue
        reason = missing_weights(networks, allow_downloads, root)
        if not reason:
            return Choice(networks, passed_over)
        passed_over[networks.name] = reason
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
    raise UserError(f"no networks of {root / CHOICE} can be had here. {reasons}")


def missing_weights(networks: NetworkSet, allow_downloads: bool, root: Path) -> str:
    """The first network of the set without weights, and why it has none; "" if all have weights."""
    for kind, recipe in [*(("teacher", name) for name in networks.teachers.values()), ("student", networks.student)]:
        settings = recipe_settings(kind, recipe, root)
        reason = missing(settings, allow_downloads)
        if reason:
            return f"{settings.architecture}: {reason}"
    return ""


def recipe_settings(kind: str, recipe: str, root: Path = ROOT) -> Training:
    """The recipe as a study reads it."""
    model = Student if kind == "student" else Teacher
    return model.model_validate(read_yaml(root / RECIPE_FOLDERS[kind] / f"{recipe}.yaml"))


def missing(settings: Training, allow_downloads: bool) -> str:
    """Why no weight source of the recipe is available; "" if one is."""
    sources = settings.weights
    if any(source in HUBS and is_cached(source, settings.architecture) for source in sources):
        return ""
    allowed = [source for source in sources if allow_downloads or source not in HUBS]
    if not allowed:
        return f"its weights would be downloaded from {sources[0]}'s hub; allow it with --allow-downloads"
    try:
        build_classifier(settings.architecture, CLASSES, settings.input_px, allowed, 0, settings.model_args)
    except UserError as error:
        return str(error)
    return ""


def in_study(recipe: str, input_px: int | None, epochs: int | None) -> dict[str, Any]:
    """A network's section of a study: its recipe, and what differs from it."""
    changes = {"input_px": input_px, "epochs": epochs}
    return {"recipe": recipe, **{key: value for key, value in changes.items() if value is not None}}
