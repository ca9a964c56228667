"""Soft labels of the ensemble: stored, computed beside the student, and one per image."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decant.data.views import ViewSet
from decant.models.checkpoint import load_checkpoint
from decant.stages import student as stage
from decant.stages.soft_labels import stored_views
from decant.stages.support.ensemble_labels import ensemble_labels
from decant.stages.support.plan import plan
from decant.stages.support.resolve import inputs_of, members, stage_result
from decant.study import Views

Chain = Any


def labels_of(chain: Chain, mode: str, views: ViewSet) -> Any:
    """The labels of a student with another mode."""
    student = chain.experiment.study.student.model_copy(update={"mode": mode})
    return ensemble_labels(chain.experiment, student, views, inputs_of(chain.experiment, "student"))


@pytest.fixture(scope="module")
def views(chain: Chain) -> ViewSet:
    data = chain.data
    return stored_views(chain.experiment.study, data.cache, data.labels, chain.geometry)


def test_labels_computed_beside_the_student_are_those_that_are_stored(chain: Chain, views: ViewSet) -> None:
    rows = np.arange(3, 40)
    stored, computed = labels_of(chain, "replay", views), labels_of(chain, "online", views)
    for view in range(3):
        np.testing.assert_allclose(computed(view, rows), stored(view, rows), atol=2e-3)
    assert np.abs(computed(1, rows) - stored(0, rows)).max() > 0.02  # another view would be noticed


def test_a_label_per_image_is_that_of_the_whole_image(chain: Chain, views: ViewSet) -> None:
    plain = Views(scale=(1, 1), ratio=(1, 1), flip=0, brightness=0, contrast=0, saturation=0)
    whole, rows = replace(views, policy=plain), np.arange(len(chain.data.cache))
    frozen, expected = labels_of(chain, "frozen", whole), labels_of(chain, "online", whole)
    np.testing.assert_allclose(frozen(7, rows), expected(0, rows), atol=1e-5)


def test_a_label_per_image_is_mixed_as_the_view_is(chain: Chain, views: ViewSet) -> None:
    rows = np.arange(len(chain.data.cache))
    frozen, drawn = labels_of(chain, "frozen", views), views.draw(rows, 0)
    unmixed = labels_of(chain, "frozen", replace(views, policy=Views()))(0, rows)
    mixed = np.flatnonzero(drawn.partner >= 0)
    assert 5 < len(mixed) < len(rows)
    share = drawn.share[mixed, None]
    found = frozen(0, rows)
    np.testing.assert_allclose(
        found[mixed], unmixed[mixed] * share + unmixed[drawn.partner[mixed]] * (1 - share), atol=1e-6
    )
    np.testing.assert_array_equal(np.delete(found, mixed, axis=0), np.delete(unmixed, mixed, axis=0))


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_a_student_that_replays_nothing_needs_no_stored_labels(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    study = chain.experiment.study
    student = study.student.model_copy(update={"mode": mode, "epochs": 4})
    experiment = replace(chain.experiment, study=study.model_copy(update={"student": student}))
    seen: list[Any] = []
    train = stage.train
    monkeypatch.setattr(stage, "train", lambda *given: [seen.append(given[1]), train(*given)][1])
    result = stage_result(experiment, "student")
    assert len(load_checkpoint(result.folder).classes) == 3
    assert [seen[0].view_of_epoch(epoch) for epoch in range(4)] == [0, 1, 2, 3]  # new views, though 3 are stored
    assert members(experiment, "soft_labels") == []
    assert not [planned.name for planned in plan(experiment) if planned.name.startswith("soft_labels/")]
    precision = stage_result(experiment, "benchmarks/precision").folder
    assert not (precision / "soft_labels.csv").exists()


def test_a_student_of_labelled_images_alone_takes_as_many_steps(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    study = chain.experiment.study
    student = study.student.model_copy(update={"unlabelled": False, "epochs": 20})
    experiment = replace(chain.experiment, study=study.model_copy(update={"student": student}))
    seen: list[Any] = []

    def train(*given: Any) -> Any:
        seen.append(given)
        raise RuntimeError("training")

    monkeypatch.setattr(stage, "train", train)
    with pytest.raises(RuntimeError, match="training"):
        stage_result(experiment, "student")
    labelled, batch = chain.data.labels.labelled, study.student.batch_size
    assert seen[0][1].rows.tolist() == labelled.tolist()
    assert seen[0][2].epochs == round(20 * (len(chain.data.cache) // batch) / (len(labelled) // batch)) > 20
