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
    """The active teachers' pooled soft labels: stored, computed per view or one per image (`student.mode`)."""
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
    """The ensemble's labels of the stored views."""
    stores = {name: open_store(result.folder) for name, result in inputs.per_teacher("soft_labels").items()}
    return pooled_labels(stores, read_weights(inputs.folder("ensemble")))


def pooled_labels(stores: Mapping[str, SoftLabelStore], weights: Weights) -> PooledLabels:
    """The ensemble's probabilities for stored views, pooled from its teachers' stores as they are read."""
    weights = weights_of(weights, stores)

    def labels(view: int, rows: np.ndarray) -> np.ndarray:
        return pooled(
            list(stores.values()),
            weights.weights,
            weights.view_temperatures,
            view,
            rows,
            weights.view_temperature,
            log_linear=weights.log_linear,
        )

    return labels


def online_labels(labellers: Mapping[str, Labeller], weights: Weights, views: ViewSet) -> PooledLabels:
    """The labels of any view, computed when they are needed: slow, and the reference."""

    def labels(view: int, rows: np.ndarray) -> np.ndarray:
        per_teacher = [labeller.probabilities(views, view, rows) for labeller in labellers.values()]
        return pool_of(weights, labellers, per_teacher)

    return labels


def frozen_labels(labellers: Mapping[str, Labeller], weights: Weights, views: ViewSet) -> PooledLabels:
    """The labels of whole images, computed once, for every view of them; a mixed view has the mean of its two."""
    whole = replace(views, policy=WHOLE_IMAGE)
    teachers = progress(labellers.values(), "labels", unit="teachers")
    image_labels = pool_of(weights, labellers, [labeller.all_probabilities(whole, 0) for labeller in teachers])

    def labels(view: int, rows: np.ndarray) -> np.ndarray:
        drawn, soft = views.draw(rows, view), image_labels[rows]
        mixed = np.flatnonzero(drawn.partner >= 0)
        share = drawn.share[mixed, None]
        soft[mixed] = soft[mixed] * share + image_labels[drawn.partner[mixed]] * (1 - share)
        return soft

    return labels


def pool_of(weights: Weights, teachers: Collection[str], probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [n, K]: the pool of some teachers' probabilities for views, [n, K] each."""
    weights = weights_of(weights, teachers)
    return pooled_probabilities(
        probabilities,
        weights.weights,
        weights.view_temperatures,
        weights.view_temperature,
        log_linear=weights.log_linear,
    )
