"""A head fitted to features: chosen on val, fitted on the rows that it was given, written into the network."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decant.models.backbones import build_classifier, head_of
from decant.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from decant.models.regressions import Regressions
from decant.stages.support import network
from decant.stages.support.network import fit_head, given_head, head_settings, new_checkpoint, val_metrics
from decant.study import Student, Teacher

Chain = Any


def untracked(metrics: dict[str, Any]) -> None:
    """A log that discards its metrics."""


def blank(chain: Chain) -> Checkpoint:
    trained = load_checkpoint(chain.stages["teachers/probe"].folder)
    classifier, _ = build_classifier("test_efficientnet", len(trained.classes), 32, ["none"], 0)
    return Checkpoint(classifier, trained.classes, trained.preprocessing, trained.card)


def fit(experiment: Any, data: Any, checkpoint: Checkpoint, rows: np.ndarray, folder: Path) -> None:
    fit_head(experiment, Teacher(kind="probe"), data, checkpoint, rows, folder, folder, untracked)


@pytest.mark.parametrize("metric", ["accuracy", "precision_macro", "f1_macro"])
def test_the_regularisation_that_is_best_on_val_by_the_studys_metric_is_taken(
    chain: Chain, tmp_path: Path, metric: str
) -> None:
    experiment = replace(chain.experiment, study=chain.experiment.study.model_copy(update={"metric": metric}))
    data = chain.data
    checkpoint = blank(chain)
    fit(experiment, data, checkpoint, data.labels.labelled, tmp_path)
    with (tmp_path / "regularisation.csv").open() as file:
        tried = {float(row["strength"]): row for row in csv.DictReader(file)}
    best = max(
        tried, key=lambda strength: (float(tried[strength][f"val_{metric}"]), -float(tried[strength]["val_nll"]))
    )
    values = val_metrics(experiment, data, checkpoint.preprocessing)(checkpoint.classifier)
    for name in (metric, "nll"):
        assert values[f"val_{name}"] == pytest.approx(float(tried[best][f"val_{name}"]), abs=1e-3)
    assert len(tried) > 3


def test_the_head_is_fitted_on_the_given_rows_alone(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = chain.data
    seen: list[np.ndarray] = []

    def noted(features: np.ndarray, targets: np.ndarray, *rest: Any) -> Any:
        seen.append(targets)
        return Regressions(features, targets, *rest)

    monkeypatch.setattr(network, "Regressions", noted)
    rows = data.labels.labelled[::2]
    fit(chain.experiment, data, blank(chain), rows, tmp_path)
    assert [targets.tolist() for targets in seen] == [2 * data.labels.targets[rows].tolist()]


def test_the_body_is_left_alone(chain: Chain, tmp_path: Path) -> None:
    data = chain.data
    checkpoint = blank(chain)
    before = {key: value.clone() for key, value in checkpoint.classifier.state_dict().items()}
    fit(chain.experiment, data, checkpoint, data.labels.labelled, tmp_path)
    changed = [key for key, value in checkpoint.classifier.state_dict().items() if not torch.equal(value, before[key])]
    assert changed == ["backbone.classifier.weight", "backbone.classifier.bias"]


def test_the_version_of_the_fit_is_in_the_fingerprint_where_a_head_is_fitted() -> None:
    assert head_settings(Teacher(kind="probe")) == head_settings(Student(head="probe")) != {}
    assert head_settings(Teacher()) == head_settings(Teacher(head="mlp")) == {}


def test_a_given_head_divides_by_the_mean_length_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.arange(6.0).reshape(3, 2)
    monkeypatch.setattr(network, "zero_shot_head", lambda *arguments: weight)
    features = np.array([[3.0, 4.0], [0.0, 15.0]])  # of length 5 and 15
    settings = Teacher(kind="probe", architecture="open_clip:ViT-B-32/openai", head="zero_shot")
    given = given_head(settings, ["a", "b", "c"], features, torch.device("cpu"))
    assert given is not None and given.bias.tolist() == [0, 0, 0]
    np.testing.assert_allclose(given.weight, weight / 10)
    assert given_head(Teacher(kind="probe"), ["a"], features, torch.device("cpu")) is None


def test_a_network_with_a_hidden_layer_in_its_head_is_read_again(tmp_path: Path) -> None:
    settings = Teacher(architecture="test_convnext", input_px=32, head="mlp", dropout=0.3)
    checkpoint = new_checkpoint(settings, ["a", "b"], 0, "crop")
    save_checkpoint(tmp_path, checkpoint)
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = checkpoint.classifier.eval()(images)
        assert torch.equal(load_checkpoint(tmp_path).classifier(images), expected)


def test_a_refit_has_the_regularisation_that_was_chosen_and_does_not_read_val(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, chosen, again = chain.data, blank(chain), blank(chain)
    rows, folder = data.labels.labelled, tmp_path / "again"
    fit_head(chain.experiment, Teacher(head="probe"), data, chosen, rows, tmp_path, tmp_path, untracked)
    monkeypatch.setattr(network, "choose_probe", None)
    refit = replace(data, chosen=tmp_path)
    fit_head(chain.experiment, Teacher(head="probe"), refit, again, rows, folder, folder, untracked)
    first, second = (head_of(checkpoint.classifier).weight for checkpoint in (chosen, again))
    assert (first - second).norm() < 0.1 * first.norm()  # the two fits start from different weights
