"""Settings that a clock, a hub or an outside file decides: resolved before a stage is fingerprinted."""

import hashlib
from pathlib import Path
from typing import TypeVar

from decant.data.geometry import InputGeometry
from decant.data.preprocessing import InputPx, size_text
from decant.models.backbones import build_classifier, timm_arguments
from decant.models.weights import load_first
from decant.stages.support.experiment import Experiment
from decant.stages.support.sample import look_at_sample
from decant.stages.support.speed import Speed
from decant.study import Teacher, Training
from decant.training.number_format import measured_dtype
from decant.workspace import Passing

Settings = TypeVar("Settings", bound=Training)
CLASSES = 10  # of the network that is timed; its head costs almost nothing


def resolve(experiment: Experiment, settings: Settings, geometry: InputGeometry) -> Settings:
    """The settings with the input's shape, the first available weight source and the number format that is faster here.

    geometry: of all networks of the study. Source and format are determined once, stored beside the stages, and the
    same from then on; a source that stands in for a failed download is not stored (`resolve_source`). Raises
    `Undecided` if they are not stored and the experiment may not measure.
    """
    settings = settings.model_copy(update={"input_px": geometry.input_px(settings.input_px)})
    source = resolve_source(experiment, settings.architecture, settings.weights, settings.input_px, settings.model_args)
    return settings.model_copy(update={"weights": [source], "dtype": resolve_dtype(experiment, settings)})


def resolve_source(
    experiment: Experiment, architecture: str, sources: list[str], input_px: InputPx, model_args: dict[str, object]
) -> str:
    """The first weight source that is available. Raises UserError if none is.

    After a failed download the decision holds for this process alone, so all its stages start from the same source. The
    next process tries the download again: if it succeeds, the source is another one, and so is the fingerprint of each
    stage that starts from it. Those stages are then built with the weights that the study asks for first.
    """
    if len(sources) == 1:
        return sources[0]  # nothing to decide; loading fails if it is not available
    key = f"weights of {architecture} {model_args or ''} from {', '.join(sources)}"

    def decide() -> str | Passing:
        classifier, _ = build_classifier(architecture, CLASSES, input_px, ["none"], 0, model_args)
        arguments = timm_arguments(architecture, input_px, model_args)
        loaded = load_first(classifier.backbone, architecture, sources, arguments)
        return loaded.source if loaded.is_final else Passing(loaded.source)

    return str(experiment.workspace.decided(key, decide if experiment.may_measure else None))


def resolve_epochs(experiment: Experiment, teacher: Teacher, train: int, val: int, images: str) -> Teacher:
    """The teacher with as many epochs as fit into `minutes`, at least one; unchanged without it.

    train, val: numbers of images. images: the fingerprint of the stage that they come from. The times of a step and of
    decoding an image are measured once and stored, as in `resolve`.
    """
    if teacher.minutes is None:
        return teacher

    def decide() -> float:
        sample = look_at_sample(experiment.source, list(experiment.source.list_images()))
        return round(Speed(sample.decode_s).epoch_s(teacher, train, val), 3)

    key = (
        f"seconds per epoch of {teacher.architecture} {teacher.model_args or ''} at {size_text(teacher.input_px)} px, "
        f"{train} and {val} images of {images}, grown from {teacher.grow_from:g} in {teacher.epochs} epochs, "
        f"on {experiment.device.type}"
    )
    seconds = float(experiment.workspace.decided(key, decide if experiment.may_measure else None))
    affordable = int(teacher.minutes * 60 / (seconds * max(1, teacher.folds)))
    return shortened(teacher, max(1, min(teacher.epochs, affordable)))


def shortened(teacher: Teacher, epochs: int) -> Teacher:
    """The teacher with fewer epochs, and with proportionally fewer of warm-up and of unfreezing."""
    share = epochs / teacher.epochs
    return teacher.model_copy(
        update={
            "epochs": epochs,
            "warmup_epochs": teacher.warmup_epochs * share,
            "unfreeze_epochs": [round(part * share) for part in teacher.unfreeze_epochs],
        }
    )


def source_digest(source: str) -> str:
    """The weight source as it is; for a local file, `file:` with the SHA-256 of its bytes."""
    if not source.startswith("file:"):
        return source
    path = Path(source.removeprefix("file:").strip()).expanduser()
    return f"file:{hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else source


def resolve_dtype(experiment: Experiment, settings: Training) -> str:
    """The number format that the study names, or the one measured to be faster here; a probe is fitted in fp32."""
    if isinstance(settings, Teacher) and settings.kind == "probe":
        return "fp32"
    if settings.dtype != "auto":
        return settings.dtype

    def decide() -> str:
        classifier, _ = build_classifier(
            settings.architecture, CLASSES, settings.input_px, ["none"], 0, settings.model_args
        )
        return measured_dtype(classifier, settings, CLASSES, experiment.device)

    key = (
        f"dtype of {settings.architecture} {settings.model_args or ''} at {size_text(settings.input_px)} px, "
        f"{settings.batch_size} images per step, on {experiment.device.type}, fast depthwise gradients"
    )
    return str(experiment.workspace.decided(key, decide if experiment.may_measure else None))
