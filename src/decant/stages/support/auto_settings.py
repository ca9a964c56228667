"""What a clock, a hub or an outside file decides: resolved before a stage, so that the fingerprint has it."""

import hashlib
from pathlib import Path
from typing import TypeVar

from decant.models.backbones import build_classifier
from decant.stages.support.experiment import Experiment
from decant.study import Teacher, Training
from decant.training.loop import measured_dtype

Settings = TypeVar("Settings", bound=Training)
CLASSES = 10  # of the network that is timed; the head hardly counts


def resolve(experiment: Experiment, settings: Settings) -> Settings:
    """The settings with the one weight source that can be had and the precision that is faster here.

    Both are found out the first time they are asked for, kept in `resolved.json`, and the same ever after.
    """
    source = resolve_source(experiment, settings.architecture, settings.weights, settings.input_px, settings.model_args)
    return settings.model_copy(update={"weights": [source], "precision": resolve_dtype(experiment, settings)})


def resolve_source(
    experiment: Experiment, architecture: str, sources: list[str], input_px: int, model_args: dict[str, object]
) -> str:
    """The first source that serves. UserError where none does."""
    if len(sources) == 1:
        return sources[0]  # nothing to decide; a source that cannot be had is told when it is loaded
    key = f"weights of {architecture} {model_args or ''} from {', '.join(sources)}"

    def decide() -> str:
        return build_classifier(architecture, CLASSES, input_px, sources, 0, model_args)[1]

    return str(experiment.workspace.resolved(key, decide))


def source_digest(source: str) -> str:
    """The source's name, with the digest of the bytes of a file."""
    if not source.startswith("file:"):
        return source
    path = Path(source.removeprefix("file:").strip()).expanduser()
    return f"file:{hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else source


def resolve_dtype(experiment: Experiment, settings: Training) -> str:
    """The study's word, or what was measured to be faster on this machine; a probe is fitted in fp32."""
    if isinstance(settings, Teacher) and settings.kind == "probe":
        return "fp32"
    if settings.precision != "auto":
        return settings.precision

    def decide() -> str:
        classifier, _ = build_classifier(
            settings.architecture, CLASSES, settings.input_px, ["none"], 0, settings.model_args
        )
        return measured_dtype(classifier, settings, CLASSES, experiment.device)

    key = (
        f"precision of {settings.architecture} {settings.model_args or ''} at {settings.input_px} px, "
        f"{settings.batch_size} a step, on {experiment.device.type}"
    )
    return str(experiment.workspace.resolved(key, decide))
