"""The input geometry of a study: named by it, clear from the shapes of train, or decided by probes.

All networks of a study share it, so that a view shows each of them the same part of an image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from decant.data.geometry import SQUARE, InputGeometry, aspect_of
from decant.data.geometry_choice import Shapes, candidates, described, fit_to, shapes_of
from decant.data.manifest import Manifest, dependent_groups, read_manifest
from decant.data.preprocessing import height_width, size_text
from decant.errors import UserError
from decant.evaluation.scores import scores
from decant.models.backbones import build_classifier, has_fixed_input
from decant.models.classifier import Classifier
from decant.models.inference import evaluation_batches, features_of, for_inference
from decant.models.linear_head import subsample
from decant.models.out_of_fold import out_of_fold
from decant.seeds import derived_seed
from decant.stages.support.auto_settings import resolve_source, source_digest
from decant.stages.support.experiment import Experiment
from decant.study import Encoder, Study, Training
from decant.tracking import progress
from decant.workspace import StageResult

PROBE_IMAGES, PROBE_FOLDS = 2000, 5
SAME_ASPECT = 1.15  # inputs whose aspect ratios differ by more do not show the same part of an image


@dataclass(frozen=True)
class Chosen:
    """A study's geometry and the reason for it."""

    geometry: InputGeometry
    why: str

    def __str__(self) -> str:
        return f"{described(self.geometry)}: {self.why}"


@dataclass(frozen=True)
class Possible:
    """The geometries that a study may have, and why: one, or several for probes; the first shows the whole image."""

    geometries: Sequence[InputGeometry]
    why: str

    @property
    def probed(self) -> int:
        """How many geometries are compared by probes; 0 if there is nothing to compare."""
        return len(self.geometries) if len(self.geometries) > 1 else 0

    def __str__(self) -> str:
        options = "; ".join(described(geometry) for geometry in self.geometries)
        return f"{f'auto, probes compare [{options}]' if self.probed else options}: {self.why}"


def input_geometry(experiment: Experiment, cleaned: StageResult) -> InputGeometry:
    """The geometry of the study's networks. cleaned: the stage `clean`.

    Raises Undecided if probes must decide and the experiment may not measure, and UserError as `named_geometry`.
    """
    return chosen_geometry(experiment, cleaned).geometry


def chosen_geometry(experiment: Experiment, cleaned: StageResult) -> Chosen:
    """The geometry of the study's networks and the reason for it.

    What probes decide is stored beside the stages, and the same from then on. Raises as `input_geometry` does.

    Extra images do not count: the geometry is chosen for the images to predict, and extra ones may have other shapes.
    """
    manifest = read_manifest(cleaned.folder).main()
    possible = possible_geometries(experiment.study, shapes_of(manifest.of_split("train")))
    options = possible.geometries
    if len(options) == 1:
        return Chosen(options[0], possible.why)
    metrics = probe_scores(experiment, cleaned, manifest, options)
    values = ", ".join(f"{described(option)} {score:.4f}" for option, score in zip(options, metrics, strict=True))
    best = options[int(np.argmax(metrics))]
    return Chosen(
        best,
        f"{possible.why}; probes on frozen features, {experiment.study.metric} out of fold on train and val: {values}",
    )


def possible_geometries(study: Study, shapes: Shapes) -> Possible:
    """The study's geometry if the study or the shapes of train decide it, else the geometries that probes compare.

    Raises UserError as `named_geometry`.
    """
    named = named_geometry(study, shapes)
    if named:
        return Possible([named.geometry], named.why)
    return Possible(candidates(shapes, square_networks(study)), f"{shapes}{squares_text(study)}")


def encoder_geometry(study: Study, manifest: Manifest) -> InputGeometry:
    """The geometry of cleaning's encoder, from shapes alone: before cleaning there are no groups and no splits.

    manifest: before cleaning. If the shapes leave several candidates, the first is taken: it shows the whole image.
    """
    manifest = manifest.main()
    rows = manifest.kept()
    rows = rows[rows["split"].isna() | (rows["split"] == "train")]
    shapes = shapes_of(rows if len(rows) else manifest.kept())
    return possible_geometries(study, shapes).geometries[0]


def named_geometry(study: Study, shapes: Shapes) -> Chosen | None:
    """What the study names; None if it leaves everything to `auto`.

    Raises UserError if networks have inputs of different aspect ratios, or a rectangular one where only squares fit.
    """
    fit, aspect = study.geometry.fit, named_aspect(study)
    squares = square_networks(study)
    if aspect not in (None, 1.0) and squares:
        raise UserError(
            f"{', '.join(squares)}: this network accepts square inputs only, but the study asks for inputs "
            f"{aspect:.2f} times as wide as high; remove geometry.aspect and pairs in input_px, or choose "
            "convolutional networks"
        )
    if fit != "auto":
        return Chosen(InputGeometry(fit, aspect or 1.0), "named by the study")
    if aspect is not None:
        return Chosen(fit_to(shapes, aspect), f"the aspect ratio is named by the study; {shapes}")
    return None


def named_aspect(study: Study) -> float | None:
    """The aspect ratio of the inputs that the study names; None if it names none. Raises UserError for several."""
    aspects = {name: aspect_of(part.input_px) for name, part in networks(study) if not isinstance(part.input_px, int)}
    if study.geometry.aspect is not None:
        aspects = {"geometry.aspect": study.geometry.aspect, **aspects}
    if not aspects:
        return None
    if max(aspects.values()) > SAME_ASPECT * min(aspects.values()):
        values = ", ".join(f"{name} {value:.2f}" for name, value in aspects.items())
        raise UserError(
            f"all networks of a study need inputs of one aspect ratio, because views are shared; it has {values} "
            "(width / height); change input_px, or give one side, which is scaled to the others' shape"
        )
    return next(iter(aspects.values()))


def networks(study: Study) -> Iterator[tuple[str, Training | Encoder]]:
    """The networks of a study with their keys."""
    yield from ((f"teachers.{name}", teacher) for name, teacher in study.teachers.items())
    yield "student", study.student
    yield "clean.encoder", study.clean.encoder


def square_networks(study: Study) -> list[str]:
    """Keys and architectures of the networks that accept square inputs only."""
    return [f"{key} ({part.architecture})" for key, part in networks(study) if has_fixed_input(part.architecture)]


def squares_text(study: Study) -> str:
    squares = square_networks(study)
    return f"; inputs are square because of {', '.join(squares)}" if squares else ""


def probe_scores(
    experiment: Experiment, cleaned: StageResult, manifest: Manifest, options: Sequence[InputGeometry]
) -> list[float]:
    """The study's metric of linear probes on frozen features, per geometry; measured once and stored."""
    study, encoder = experiment.study, probe_encoder(experiment.study)
    names = ", ".join(described(option) for option in options)
    key = (
        f"geometry of {cleaned.fingerprint}: {names}; {study.metric} out of fold with {encoder.architecture} "
        f"from {source_digest(encoder_source(experiment))} at {size_text(encoder.input_px)} px"
    )

    def decide() -> list[float]:
        network = encoder_network(experiment, encoder)
        return [probe_score(experiment, manifest, network, option) for option in progress(options, "geometry")]

    return [float(score) for score in experiment.workspace.decided(key, decide if experiment.may_measure else None)]


def encoder_network(experiment: Experiment, encoder: Encoder) -> Classifier:
    """Cleaning's encoder with its weights, ready for inference. encoder: the study's, or the same at another size."""
    seed = derived_seed(experiment.study.seed, "encoder")
    classifier, _ = build_classifier(encoder.architecture, 2, encoder.input_px, [encoder_source(experiment)], seed)
    return for_inference(classifier, experiment.device, height_width(encoder.input_px))


def encoder_source(experiment: Experiment) -> str:
    """The weight source of cleaning's encoder."""
    encoder = experiment.study.clean.encoder
    return resolve_source(experiment, encoder.architecture, encoder.weights, encoder.input_px, {})


def probe_encoder(study: Study) -> Encoder:
    """Cleaning's encoder at the student's size: how much a geometry must show depends on the number of pixels."""
    encoder = study.clean.encoder
    if has_fixed_input(encoder.architecture):
        return encoder
    return encoder.model_copy(update={"input_px": study.student.input_px})


def probe_score(experiment: Experiment, manifest: Manifest, classifier: Classifier, geometry: InputGeometry) -> float:
    """The study's metric on train and val in this geometry, by probes on frozen features.

    Each image is predicted by a probe that was fitted without its group. Train counts too, because val alone is often
    too small to distinguish geometries.
    """
    rows = labelled_rows(manifest)
    targets, seed = manifest.targets(rows), derived_seed(experiment.study.seed, "geometry")
    chosen = subsample(np.arange(len(rows)), targets, PROBE_IMAGES, seed)
    rows, targets = rows.iloc[chosen], targets[chosen]
    features = probe_features(experiment, classifier, rows, geometry)
    groups = list(dependent_groups(rows))
    probabilities = out_of_fold(features, targets, groups, len(manifest.classes), PROBE_FOLDS, seed)
    log_probabilities = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return float(scores(log_probabilities, targets)[experiment.study.metric])


def labelled_rows(manifest: Manifest) -> pd.DataFrame:
    """The rows of train and val that have a label of positive weight, each content once."""
    rows = pd.concat([manifest.of_split("train"), manifest.of_split("val")]).drop_duplicates("content")
    return rows[(manifest.targets(rows) >= 0) & (rows["weight"] > 0)]


def probe_features(
    experiment: Experiment, classifier: Classifier, rows: pd.DataFrame, geometry: InputGeometry
) -> np.ndarray:
    """The encoder's features of the images, float32 [n, D], in the order of the rows."""
    preprocessing = geometry.preprocessing(probe_encoder(experiment.study).input_px, 1.0)
    features_by_id: dict[str, np.ndarray] = {}
    for ids, images in evaluation_batches(experiment.encoded_images(rows), preprocessing):
        features_by_id.update(zip(ids, features_of(classifier, images.to(experiment.device)), strict=True))
    return np.stack([features_by_id[id_] for id_ in rows["id"]])


def geometry_settings(geometry: InputGeometry) -> dict[str, Any]:
    """The geometry's part of a fingerprint: nothing for the square crop, the only geometry of earlier versions."""
    return {} if geometry == SQUARE else {"geometry": [geometry.fit, geometry.aspect]}
