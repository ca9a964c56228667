"""The ensemble: what the file says is what was done."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from decant.data.predictions import read_predictions
from decant.stages.ensemble import read_weights
from decant.stages.labels import read_cleaned
from decant.stages.predictions import predictions

Chain = Any


def member_means(chain: Chain, split: str) -> dict[str, np.ndarray]:
    """Each teacher's probabilities, the mean of its views of a picture, float64."""
    found = {}
    for name in chain.experiment.study.teachers:
        finished = predictions(chain.experiment, name, chain.stages[f"teachers/{name}"])
        members = read_predictions(finished.folder, split).members
        assert list(members) == ["identity", "hflip"]
        found[name] = np.mean([np.exp(values.astype(np.float64)) for values in members.values()], axis=0)
    return found


def test_equal_pooling_gives_equal_weights(chain: Chain) -> None:
    assert read_weights(chain.stages["ensemble"]).weights == [0.5, 0.5]


def test_temperatures_are_fitted_to_the_labels_of_val(chain: Chain) -> None:
    manifest = read_cleaned(chain.experiment)
    targets = manifest.targets(manifest.of_split("val"))
    weights = read_weights(chain.stages["ensemble"])
    for name, temperature in zip(weights.names, weights.temperatures, strict=True):
        logs = np.log(member_means(chain, "val")[name])

        def cost(log_t: float, logs: np.ndarray = logs) -> float:
            # the likelihood, and the belief that T = 1 with the weight of one row, which `calibration` describes
            likelihood = log_softmax(logs / np.exp(log_t), axis=1)[np.arange(len(targets)), targets].sum()
            return float(-likelihood + np.exp(-log_t) + log_t)

        best = minimize_scalar(cost, bounds=(-4, 4), method="bounded", options={"xatol": 1e-6})
        assert cost(np.log(temperature)) <= best.fun + 1e-5


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_the_pool_is_the_weighted_mean_of_tempered_probabilities(chain: Chain, split: str) -> None:
    means = member_means(chain, split)
    weights = read_weights(chain.stages["ensemble"])
    expected = sum(
        weight * softmax(np.log(means[name]) / temperature, axis=1)
        for name, weight, temperature in zip(weights.names, weights.weights, weights.temperatures, strict=True)
    )
    found = read_predictions(chain.stages["ensemble"].folder, split)
    np.testing.assert_allclose(np.exp(found.members["identity"]), expected, atol=1e-4)


def test_weights_are_fitted_without_test(chain: Chain) -> None:
    described = json.loads((chain.stages["ensemble"].folder / "weights.json").read_text())
    assert set(described) == {"pooling", "teachers", "val"}
    assert all(set(row) == {"weight", "temperature", "val"} for row in described["teachers"].values())


def test_the_ensemble_has_no_predictions_of_train(chain: Chain) -> None:
    assert not (chain.stages["ensemble"].folder / "train").exists()
