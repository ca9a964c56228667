"""The student and its twin: the same start, the same views, the same budget; only the labels differ."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from decant.data.views import ViewSet
from decant.distillation.losses import SOFT_LOSSES
from decant.models.backbones import head_of
from decant.models.checkpoint import load_checkpoint
from decant.stages import student as stage
from decant.stages.soft_labels import open_store, stored_views
from decant.stages.student import at_epoch, distillation_loss, given_targets, with_steps_of_all
from decant.stages.support.ensemble_labels import pooled_labels
from decant.stages.support.resolve import stage_result
from decant.stages.support.training_data import Labels
from decant.stages.support.weights import Weights, read_weights
from decant.study import SoftLoss, Student, Views

Chain = Any


def test_student_and_twin_start_from_the_same_weights(chain: Chain) -> None:
    one, two = chain.trainings["student"].initial, chain.trainings["student_alone"].initial
    assert [key for key, value in one.items() if not torch.equal(value, two[key])] == []


def test_student_and_twin_start_from_the_same_fitted_head(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    study = chain.experiment.study
    fitted = study.model_copy(update={"student": study.student.model_copy(update={"head": "probe", "epochs": 1})})
    heads = []
    train = stage.train

    def noted(classifier: Any, *rest: Any) -> Any:
        heads.append(head_of(classifier).weight.detach().clone())
        return train(classifier, *rest)

    monkeypatch.setattr(stage, "train", noted)
    for name in ("student", "student_alone"):
        stage_result(replace(chain.experiment, study=fitted), name)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], chain.trainings["student"].initial["backbone.classifier.weight"])


@pytest.mark.parametrize(
    "change",
    [
        {"hard_weight": 0.7},
        {"temperature": 3.0},
        {"loss": "dist"},
        {"standardise": True},
        {"mode": "online"},
        {"unlabelled": False},
    ],
)
def test_what_only_soft_labels_need_trains_the_student_again_and_not_its_twin(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    def train(*_: Any) -> Any:
        raise RuntimeError("training")

    study = chain.experiment.study
    changed = study.model_copy(update={"student": study.student.model_copy(update=change)})
    monkeypatch.setattr(stage, "train", train)
    experiment = replace(chain.experiment, study=changed)
    assert stage_result(experiment, "student_alone") == chain.stages["student_alone"]
    with pytest.raises(RuntimeError, match="training"):
        stage_result(experiment, "student")


def test_another_repetition_has_another_start_for_both(chain: Chain) -> None:
    study = chain.experiment.study
    again = study.model_copy(update={"student": study.student.model_copy(update={"repetition": 1, "epochs": 1})})
    experiment = replace(chain.experiment, study=again)
    seeds = {stage.seed_of(of, name) for of in (chain.experiment, experiment) for name in ("student", "student_alone")}
    assert len(seeds) == 2
    assert stage.seed_of(experiment, "student") == stage.seed_of(experiment, "student_alone")


def test_student_and_twin_end_in_different_weights(chain: Chain) -> None:
    one, two = (load_checkpoint(chain.stages[name].folder).classifier for name in ("student", "student_alone"))
    assert not torch.equal(one.state_dict()["backbone.conv_stem.weight"], two.state_dict()["backbone.conv_stem.weight"])


def test_student_and_twin_see_the_same_pixels_in_a_view(chain: Chain) -> None:
    both = [chain.trainings[name].task.views for name in ("student", "student_alone")]
    rows = chain.trainings["student_alone"].task.rows
    for view in range(3):
        assert torch.equal(both[0].render(rows, view, 32), both[1].render(rows, view, 32))


def test_the_student_goes_through_the_stored_views_in_turn(chain: Chain) -> None:
    training = chain.trainings["student"]
    assert {view for view, _ in training.rendered} == {0, 1, 2}
    assert [training.task.view_of_epoch(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]


def test_the_twin_sees_new_views_in_each_epoch(chain: Chain) -> None:
    training = chain.trainings["student_alone"]
    assert {view for view, _ in training.rendered} == set(range(training.settings.epochs))


def test_the_student_learns_from_every_image_and_the_twin_from_the_labelled_ones(chain: Chain) -> None:
    labels = chain.data.labels
    assert chain.trainings["student"].task.rows.tolist() == list(range(len(labels.targets)))
    assert chain.trainings["student_alone"].task.rows.tolist() == labels.labelled.tolist()
    assert chain.trainings["student_alone"].shown <= set(labels.labelled)
    assert len(labels.labelled) < len(labels.targets)


def test_the_twin_sees_at_least_as_many_images_and_less_than_an_epoch_more(chain: Chain) -> None:
    both = [chain.trainings[name] for name in ("student", "student_alone")]
    seen = [training.settings.epochs * len(training.task.rows) for training in both]
    assert 0 <= seen[1] - seen[0] < len(both[1].task.rows)
    given, twins = (training.settings.model_dump() for training in both)
    unlike = {key for key, value in given.items() if value != twins[key]}
    assert unlike <= {"epochs"}


@pytest.mark.parametrize(
    ("images", "labelled", "epochs"),
    [
        (100, 100, 8),
        (110, 100, 9),
        (104, 100, 8),
        (150, 50, 24),
        (9, 0, 8),
        (1000, 100, 80),
        (1000, 60, 133),
        (109, 65, 13),
    ],
)
def test_fewer_rows_get_more_epochs(images: int, labelled: int, epochs: int) -> None:
    assert with_steps_of_all(Student(epochs=8, batch_size=10), images, labelled).epochs == epochs


@pytest.fixture
def labels(chain: Chain) -> Labels:
    """The chain's labels, but rows 0 and 1 are unlabelled and rows 2 and 3 of weight zero."""
    given = chain.data.labels
    targets, weight = given.targets.copy(), np.ones(len(given.targets))
    targets[targets < 0] = 0
    targets[:2], weight[2:4] = -1, 0
    return Labels(targets, weight, given.group, np.arange(4, len(targets)))


def test_rows_without_a_trusted_label_have_no_target(chain: Chain, labels: Labels) -> None:
    cache = chain.data.cache
    views = ViewSet.of(cache, Views(mix=0.5), 1, labels.labelled)
    found = given_targets(views, labels, 3, np.arange(10), 0).numpy()
    assert (found[:4] == 0).all()
    np.testing.assert_allclose(found[4:].sum(axis=1), 1, atol=1e-6)
    assert found[4:].argmax(axis=1).tolist() == labels.targets[4:10].tolist()


def test_a_batch_without_any_label_has_no_target(chain: Chain, labels: Labels) -> None:
    cache = chain.data.cache
    views = ViewSet.of(cache, Views(), 1, labels.labelled)
    assert (given_targets(views, labels, 3, np.arange(4), 0) == 0).all()


def oracle(chain: Chain, settings: Student, labels: Labels, logits: np.ndarray, rows: np.ndarray, view: int) -> float:
    """sum_i b_i (h_i CE_i + (1 - h_i) T^2 KL(p_T || q_T)) / sum_i b_i in float64, with the pool computed here.

    h_i is hard_weight times the label's weight, b_i the balance of its class; CE_i is with smoothed labels.
    """
    data = chain.data
    weights = read_weights(chain.stages["ensemble"].folder)
    pool = np.zeros((len(rows), 3))
    for name, weight, temperature in zip(weights.names, weights.weights, weights.view_temperatures, strict=True):
        probabilities = open_store(chain.stages[f"soft_labels/{name}"].folder).read(view, rows).astype(np.float64)
        tempered = probabilities ** (1 / temperature)
        pool += weight * tempered / tempered.sum(axis=1, keepdims=True)
    pool = pool ** (1 / weights.view_temperature)
    T = settings.temperature
    p = pool ** (1 / T) / (pool ** (1 / T)).sum(axis=1, keepdims=True)
    log_q = logits / T - np.log(np.exp(logits / T).sum(axis=1, keepdims=True))
    log_hard = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    soft = T**2 * (p * (np.log(p) - log_q)).sum(axis=1)
    drawn = stored_views(chain.experiment.study, data.cache, data.labels, chain.geometry).draw(rows, view)
    counts = np.bincount(labels.targets[labels.targets >= 0], minlength=3)
    total = norm = 0.0
    for i, row in enumerate(rows):
        target = labels.targets[row]
        if target < 0:
            total, norm = total + soft[i], norm + 1
            continue
        hard = np.zeros(3)
        hard[target] += drawn.share[i]
        if drawn.partner[i] >= 0:
            hard[labels.targets[drawn.partner[i]]] += 1 - drawn.share[i]
        hard = (1 - settings.label_smoothing) * hard + settings.label_smoothing / 3
        h, b = settings.hard_weight * labels.weight[row], (counts.mean() / counts[target]) ** settings.balance
        total, norm = total + b * (h * -(hard @ log_hard[i]) + (1 - h) * soft[i]), norm + b
    return total / norm


@pytest.mark.parametrize("change", [{}, {"temperature": 2.0}, {"label_smoothing": 0.2}, {"balance": 1.0}])
@pytest.mark.parametrize("trust", [1.0, 0.4])
def test_the_distillation_loss_is_the_papers(chain: Chain, change: dict[str, float], trust: float) -> None:
    data = chain.data
    plain = {"temperature": 1.0, "hard_weight": 0.3, "label_smoothing": 0.0, "balance": 0.0}
    settings = chain.experiment.study.student.model_copy(update=plain | change)
    weight = data.labels.weight.copy()
    weight[data.labels.labelled[::2]] = trust
    targets = data.labels.targets.copy()
    targets[data.labels.labelled[:12]] = 0  # so that the classes are of different sizes
    labels = replace(data.labels, weight=weight, targets=targets)
    stores = {name: open_store(chain.stages[f"soft_labels/{name}"].folder) for name in ("convnext", "probe")}
    views = stored_views(chain.experiment.study, data.cache, labels, chain.geometry)
    weights = read_weights(chain.stages["ensemble"].folder)
    criterion = distillation_loss(settings, views, labels, 3, pooled_labels(stores, weights))
    rows = np.arange(len(data.cache))
    logits = np.random.default_rng(0).normal(size=(len(rows), 3)) * 2
    loss = criterion(torch.from_numpy(logits).float(), rows, 1).item()
    assert loss == pytest.approx(oracle(chain, settings, labels, logits, rows, 1), rel=1e-4)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("loss", get_args(SoftLoss))
def test_the_student_learns_by_the_loss_of_its_study(chain: Chain, loss: SoftLoss, standardise: bool) -> None:
    change = {"loss": loss, "standardise": standardise, "hard_weight": 0.0, "temperature": 1.0}
    settings = chain.experiment.study.student.model_copy(update=change)
    data = chain.data
    probe = open_store(chain.stages["soft_labels/probe"].folder)
    views = stored_views(chain.experiment.study, data.cache, data.labels, chain.geometry)
    weights = Weights(["probe"], [1.0], [9.0], [1.0])
    criterion = distillation_loss(settings, views, data.labels, 3, pooled_labels({"probe": probe}, weights))
    rows, logits = np.arange(20), torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    targets = given_targets(views, data.labels, 3, rows, 0)
    soft = torch.from_numpy(probe.read(0, rows))
    expected = SOFT_LOSSES[loss](logits, soft, targets, 0.0, 1.0, standardise=standardise)
    assert criterion(logits, rows, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_teacher_of_weight_zero_is_not_listened_to(chain: Chain) -> None:
    data = chain.data
    probe = open_store(chain.stages["soft_labels/probe"].folder)
    views = stored_views(chain.experiment.study, data.cache, data.labels, chain.geometry)
    weights = Weights(["convnext", "probe"], [0.0, 1.0], [9.0, 9.0], [1.0, 1.0])
    settings = chain.experiment.study.student.model_copy(update={"hard_weight": 0.0, "temperature": 1.0})
    criterion = distillation_loss(settings, views, data.labels, 3, pooled_labels({"probe": probe}, weights))
    rows = np.arange(20)
    answers = torch.from_numpy(np.log(probe.read(0, rows)))
    assert criterion(answers, rows, 0).item() == pytest.approx(0, abs=1e-5)  # the student says what the probe says


def test_permuted_soft_labels_are_noticed(chain: Chain) -> None:
    # The planted bug: classes of the store in another order than the student's.
    data = chain.data
    probe = open_store(chain.stages["soft_labels/probe"].folder)
    views = stored_views(chain.experiment.study, data.cache, data.labels, chain.geometry)
    settings = chain.experiment.study.student.model_copy(update={"hard_weight": 0.0, "temperature": 1.0})
    soft_labels = pooled_labels({"probe": probe}, Weights(["probe"], [1.0], [9.0], [1.0]))
    criterion = distillation_loss(settings, views, data.labels, 3, soft_labels)
    rows = np.arange(20)
    answers = torch.from_numpy(np.log(probe.read(0, rows)))
    assert criterion(answers[:, [1, 2, 0]], rows, 0).item() > 0.05


def test_hard_weight_and_temperature_may_change_over_the_epochs() -> None:
    student = Student(epochs=5, hard_weight=(0.9, 0.1), temperature=(4.0, 2.0))
    found = [at_epoch(student, epoch) for epoch in range(5)]
    assert [one.hard_weight for one in found] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    assert [one.temperature for one in found] == pytest.approx([4.0, 3.5, 3.0, 2.5, 2.0])
    fixed = Student(epochs=1, hard_weight=0.3, temperature=2.0)
    assert at_epoch(fixed, 0) == fixed
    assert at_epoch(Student(epochs=1, hard_weight=(0.9, 0.1)), 0).hard_weight == 0.9


def test_the_loss_of_an_epoch_has_its_hard_weight(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    study = chain.experiment.study
    student = study.student.model_copy(update={"hard_weight": (1.0, 0.0), "epochs": 3, "unlabelled": False})
    experiment = replace(chain.experiment, study=study.model_copy(update={"student": student}))
    tasks: list[Any] = []

    def train(classifier: Any, task: Any, *rest: Any) -> Any:
        tasks.append(task)
        raise RuntimeError("training")

    monkeypatch.setattr(stage, "train", train)
    with pytest.raises(RuntimeError, match="training"):
        stage_result(experiment, "student")
    (task,), rows = tasks, chain.data.labels.labelled[:20]
    logits, losses = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), []
    for epoch in (0, 1, 2):
        losses.append(task.at(epoch).criterion(logits, rows, 0).item())
    given = stage.twin_loss(student, task.views, chain.data)(logits, rows, 0).item()
    assert losses[0] == pytest.approx(given, rel=1e-4)
    assert losses[1] == pytest.approx((losses[0] + losses[2]) / 2, rel=1e-4) and losses[0] != losses[2]
