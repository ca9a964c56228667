"""The ensemble's soft labels of the views that a student sees: stored ones, or computed while it is trained."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from decant.data.views import ViewSet
from decant.distillation.soft_labels import SoftLabelStore, pooled, pooled_probabilities
from decant.stages.soft_labels import open_store
from decant.stages.support.experiment import Experiment
from decant.stages.support.labelling import Labeller
from decant.stages.support.resolve import Inputs
from decant.stages.support.weights import Weights, active_teachers, read_weights, weights_of
from decant.study import Student, Views
from decant.tracking import progress

PooledLabels = Callable[[int, np.ndarray], np.ndarray]  # view, rows -> probabilities, float32 [len(rows), K]
WHOLE_IMAGE = Views(scale=(1, 1), ratio=(1, 1), flip=0, brightness=0, contrast=0, saturation=0)


def ensemble_labels(experiment: Experiment, student: Student, views: ViewSet, inputs: Inputs) -> PooledLabels:
    """The soft labels of the active teachers, from where `student.mode` names."""
    if student.mode == "replay":
        return replayed_labels(inputs)
    weights, teachers = read_weights(inputs.folder("ensemble")), inputs.per_teacher("teachers")
    labellers = {
        name: Labeller.of(teachers[name].folder, views.cache.contents, experiment.device)
        for name in active_teachers(weights)
    }
    computed = online_labels if student.mode == "online" else frozen_labels
    return computed(labellers, weights, views)


def replayed_labels(inputs: Inputs) -> PooledLabels:
    """The labels of the stored views."""
    stores = {name: open_store(result.folder) for name, result in inputs.per_teacher("soft_labels").items()}
    return pooled_labels(stores, read_weights(inputs.folder("ensemble")))


def pooled_labels(stores: Mapping[str, SoftLabelStore], weights: Weights) -> PooledLabels:
    """The ensemble's probabilities for stored views, pooled from its teachers' stores as they are read."""
    of, kept = weights_of(weights, stores), list(stores.values())

    def labels(view: int, rows: np.ndarray) -> np.ndarray:
        return pooled(kept, of.weights, of.view_temperatures, view, rows, of.view_temperature, log_linear=of.log_linear)

    return labels


def online_labels(labellers: Mapping[str, Labeller], weights: Weights, views: ViewSet) -> PooledLabels:
    """The labels of any view, computed when they are needed: the reference, and slow."""

    def labels(view: int, rows: np.ndarray) -> np.ndarray:
        return pool_of(weights, labellers, [of.probabilities(views, view, rows) for of in labellers.values()])

    return labels


def frozen_labels(labellers: Mapping[str, Labeller], weights: Weights, views: ViewSet) -> PooledLabels:
    """The labels of whole images, computed once, whatever the view shows; of a mixed view the mean of its two."""
    whole = replace(views, policy=WHOLE_IMAGE)
    of_teachers = [of.all_probabilities(whole, 0) for of in progress(labellers.values(), "labels", unit="teachers")]
    of_image = pool_of(weights, labellers, of_teachers)

    def labels(view: int, rows: np.ndarray) -> np.ndarray:
        drawn, soft = views.draw(rows, view), of_image[rows]
        mixed = np.flatnonzero(drawn.partner >= 0)
        share = drawn.share[mixed, None]
        soft[mixed] = soft[mixed] * share + of_image[drawn.partner[mixed]] * (1 - share)
        return soft

    return labels


def pool_of(weights: Weights, teachers: Collection[str], probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [n, K]: the pool of some teachers' probabilities for views, [n, K] each."""
    of = weights_of(weights, teachers)
    return pooled_probabilities(
        probabilities, of.weights, of.view_temperatures, of.view_temperature, log_linear=of.log_linear
    )
