"""A check of stored soft labels: a sample is computed again."""

from dataclasses import dataclass

import numpy as np

from decant.errors import UserError
from decant.stages.soft_labels import open_store, stored_views
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.labelling import Labeller
from decant.stages.support.resolve import inputs_of, stage_result
from decant.stages.support.training_data import read_training_data

CHECKED_VIEWS, CHECKED_IMAGES = 3, 256
LARGEST_DIFFERENCE = 2e-3  # of a probability: float16 logarithms, and sums in another order on another processor


@dataclass(frozen=True)
class Check:
    """A sample of stored labels, computed again. difference: the largest one of any probability."""

    teacher: str
    views: list[int]
    images: int
    difference: float


def check_labels(experiment: Experiment, name: str) -> Check:
    """Compute a sample of a finished store again. Raises UserError if a stored label differs by more than rounding."""
    inputs, teacher = inputs_of(experiment, name), name.partition("/")[2]
    data, trained = read_training_data(inputs, name), inputs.folder(f"teachers/{teacher}")
    view_set = stored_views(experiment.study, data.cache, data.labels, input_geometry(experiment, inputs["clean"]))
    store = open_store(stage_result(experiment, name).folder)
    contents = store.contents()
    labeller = Labeller.of(trained, contents, experiment.device)
    random = np.random.default_rng(0)
    views = sorted(random.permutation(experiment.study.soft_labels.views)[:CHECKED_VIEWS].tolist())
    rows = np.sort(random.permutation(len(contents))[:CHECKED_IMAGES])
    largest = 0.0
    for view in views:
        recomputed = labeller.probabilities(view_set, view, rows)
        differences = np.abs(store.read(view, rows) - store.as_stored(recomputed)).max(axis=1)
        largest = max(largest, float(differences.max()))
        if largest > LARGEST_DIFFERENCE:
            worst = contents[rows[differences.argmax()]]
            raise UserError(
                f"soft labels of {teacher}: view {view} of image {worst[:16]} differs by {largest:.3f} from what the "
                f"teacher predicts ({LARGEST_DIFFERENCE} is allowed). Delete {store.folder} and make the labels again"
            )
    return Check(teacher, views, len(rows), largest)
