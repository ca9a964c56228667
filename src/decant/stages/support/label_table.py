"""The ensemble's stored soft labels as a table for other programs."""

from pathlib import Path

import numpy as np

from decant.data.views import VERSION as VIEW_VERSION
from decant.distillation.table import LabelledView, write_table
from decant.stages.pixels import trainable
from decant.stages.soft_labels import stored_views
from decant.stages.support.ensemble_labels import replayed_labels
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.resolve import inputs_of
from decant.stages.support.training_data import read_training_data


def write_pooled_table(experiment: Experiment, path: Path) -> None:
    """Write the ensemble's labels of the stored views as a table for other programs; build missing stages first."""
    study, inputs = experiment.study, inputs_of(experiment, "student")
    data = read_training_data(inputs)
    views = stored_views(study, data.cache, data.labels, input_geometry(experiment, inputs["clean"]))
    labels_of = replayed_labels(inputs)
    rows, contents = np.arange(len(data.cache)), data.cache.contents
    path_of = trainable(study, data.manifest).drop_duplicates("content").set_index("content")["path"]
    labelled_views = (
        LabelledView(view, contents, labels_of(view, rows), views.draw(rows, view))
        for view in range(study.soft_labels.views)
    )
    about = {
        "study": study.name,
        "teachers": list(inputs.per_teacher("soft_labels")),
        "fit": views.geometry.fit,
        "aspect": views.geometry.aspect,
        "view_version": VIEW_VERSION,
    }
    write_table(path, labelled_views, contents, path_of[contents].tolist(), data.manifest.classes, about)
