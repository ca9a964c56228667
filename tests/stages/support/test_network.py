"""A head fitted to features: chosen on val, fitted on the rows that it was given, written into the network."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import decode
from decant.models import linear_head
from decant.models.backbones import build_classifier, embed, head_of
from decant.models.checkpoint import Checkpoint, load_checkpoint
from decant.stages.support import network
from decant.stages.support.network import fit_head, read_features

Chain = Any


def untracked(metrics: dict[str, Any]) -> None:
    """A log that discards its metrics."""


def blank(chain: Chain) -> Checkpoint:
    trained = load_checkpoint(chain.stages["teachers/probe"].folder)
    classifier, _ = build_classifier("test_efficientnet", len(trained.classes), 32, ["none"], 0)
    return Checkpoint(classifier, trained.classes, trained.preprocessing, trained.card)


def test_features_are_those_of_the_evaluation_transform_and_of_its_mirror_image(chain: Chain) -> None:
    checkpoint = blank(chain)
    rows = chain.data.manifest.of_split("val")
    features, mirrored = read_features(chain.experiment, checkpoint, rows)
    for place, (_, row) in enumerate(rows.iterrows()):
        photo = decode((chain.experiment.data_root / "shapes" / row["path"]).read_bytes())
        image = evaluation_transform(photo, checkpoint.preprocessing)[None]
        with torch.inference_mode():
            np.testing.assert_allclose(features[place], embed(checkpoint.classifier, image)[0].numpy(), atol=1e-4)
            np.testing.assert_allclose(
                mirrored[place], embed(checkpoint.classifier, image.flip(-1))[0].numpy(), atol=1e-4
            )


@pytest.mark.parametrize("metric", ["accuracy", "precision_macro", "f1_macro"])
def test_the_regularisation_that_is_best_on_val_by_the_studys_metric_is_taken(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    experiment = replace(chain.experiment, study=chain.experiment.study.model_copy(update={"metric": metric}))
    data = chain.data
    checkpoint = blank(chain)
    fit_head(experiment, data, checkpoint, data.labels.labelled, tmp_path, untracked)
    with (tmp_path / "regularisation.csv").open() as file:
        tried = {float(row["strength"]): row for row in csv.DictReader(file)}
    best = max(
        tried, key=lambda strength: (float(tried[strength][f"val_{metric}"]), -float(tried[strength]["val_nll"]))
    )
    alone = blank(chain)
    monkeypatch.setattr(linear_head, "REGULARISATION", (best,))
    fit_head(experiment, data, alone, data.labels.labelled, tmp_path, untracked)
    assert torch.equal(head_of(checkpoint.classifier).weight, head_of(alone.classifier).weight)
    assert len(tried) > 3


def test_a_refit_has_the_regularisation_that_was_chosen_and_does_not_read_val(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, chosen, again = chain.data, blank(chain), blank(chain)
    fit_head(chain.experiment, data, chosen, data.labels.labelled, tmp_path, untracked)
    monkeypatch.setattr(network, "choose_probe", None)
    fit_head(chain.experiment, replace(data, chosen=tmp_path), again, data.labels.labelled, tmp_path / "b", untracked)
    assert torch.equal(head_of(chosen.classifier).weight, head_of(again.classifier).weight)


def test_the_head_is_fitted_on_the_given_rows_alone(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = chain.data
    seen: list[np.ndarray] = []
    fit = linear_head.LinearProbe.fit

    def noted(self: Any, features: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> Any:
        seen.append(targets)
        return fit(self, features, targets, weight)

    monkeypatch.setattr(linear_head.LinearProbe, "fit", noted)
    rows = data.labels.labelled[::2]
    fit_head(chain.experiment, data, blank(chain), rows, tmp_path, untracked)
    assert all(targets.tolist() == 2 * data.labels.targets[rows].tolist() for targets in seen)


def test_the_body_is_left_alone(chain: Chain, tmp_path: Path) -> None:
    data = chain.data
    checkpoint = blank(chain)
    before = {key: value.clone() for key, value in checkpoint.classifier.state_dict().items()}
    fit_head(chain.experiment, data, checkpoint, data.labels.labelled, tmp_path, untracked)
    changed = [key for key, value in checkpoint.classifier.state_dict().items() if not torch.equal(value, before[key])]
    assert changed == ["backbone.classifier.weight", "backbone.classifier.bias"]
