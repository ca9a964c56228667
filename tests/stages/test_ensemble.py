"""The ensemble stage: weights.json describes the pooling that the predictions used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from decant.data.predictions import Predictions, read_predictions, write_predictions
from decant.ensemble.comparison import pooling_rows
from decant.ensemble.pooling import METHODS
from decant.stages.ensemble import chosen_method, fit, pooled_predictions, val_predictions
from decant.stages.support.resolve import stage_result
from decant.stages.support.weights import read_weights
from decant.workspace import write_json

Chain = Any


def member_means(chain: Chain, split: str) -> dict[str, np.ndarray]:
    """Each teacher's probabilities, the mean of its TTA views of an image, float64."""
    found = {}
    for name in chain.experiment.study.teachers:
        finished = stage_result(chain.experiment, f"predictions/{name}")
        members = read_predictions(finished.folder, split).members
        assert list(members) == ["identity", "hflip"]
        found[name] = np.mean([np.exp(values.astype(np.float64)) for values in members.values()], axis=0)
    return found


def test_equal_pooling_gives_equal_weights(chain: Chain) -> None:
    assert read_weights(chain.stages["ensemble"].folder).weights == [0.5, 0.5]


def test_temperatures_are_fitted_to_the_labels_of_val(chain: Chain) -> None:
    manifest = chain.manifest
    targets = manifest.targets(manifest.of_split("val"))
    weights = read_weights(chain.stages["ensemble"].folder)
    for name, temperature in zip(weights.names, weights.temperatures, strict=True):
        expected = best_temperature(np.log(member_means(chain, "val")[name]), targets)
        assert temperature == pytest.approx(expected, rel=1e-3)


def best_temperature(log_probabilities: np.ndarray, targets: np.ndarray) -> float:
    """By a search, with the belief that T = 1 with the weight of one row, which `calibration` describes."""

    def cost(log_t: float) -> float:
        likelihood = log_softmax(log_probabilities / np.exp(log_t), axis=1)[np.arange(len(targets)), targets].sum()
        return float(-likelihood + np.exp(-log_t) + log_t)

    return float(np.exp(minimize_scalar(cost, bounds=(-4, 4), method="bounded", options={"xatol": 1e-6}).x))


def test_view_temperatures_are_fitted_to_predictions_of_one_model_without_tta(chain: Chain) -> None:
    """For a teacher with folds to train out of fold, for one without to val."""
    weights, rows = read_weights(chain.stages["ensemble"].folder), chain.manifest.rows.set_index("id")
    for name, split in (("convnext", "train"), ("probe", "val")):
        single = read_predictions(stage_result(chain.experiment, f"predictions/{name}").folder, split)
        targets = chain.manifest.targets(rows.loc[single.ids])
        trusted = (targets >= 0) & (rows.loc[single.ids, "weight"].to_numpy() > 0)
        expected = best_temperature(single.members["identity"][trusted].astype(np.float64), targets[trusted])
        assert weights.view_temperatures[weights.names.index(name)] == pytest.approx(expected, rel=1e-3)
    assert weights.view_temperatures != weights.temperatures


def test_convex_weights_are_those_of_the_best_likelihood_of_the_tempered_pool(chain: Chain, tmp_path: Path) -> None:
    """Two teachers that are right on different classes; the second one is overconfident."""
    manifest = chain.manifest
    rows = manifest.of_split("val")
    targets = manifest.targets(rows)
    noise = np.random.default_rng(0).normal(size=(2, len(targets), 3))
    logits = np.where(targets[:, None] == [0, 1], 2.0, 0.5).T[..., None] * np.eye(3)[targets] + noise
    logits[1] *= 6
    parts = {}
    for name, scores in zip("ab", logits, strict=True):
        write_predictions(
            tmp_path / name, "val", Predictions(list(rows["id"]), {"identity": log_softmax(scores, axis=1)})
        )
        parts[name] = tmp_path / name
    fitted, _ = fit(manifest, parts, "convex")
    assert fitted.temperatures[1] > 2 * fitted.temperatures[0]

    def likelihoods(temperatures: list[float]) -> np.ndarray:
        """Of each share of the first teacher, from 0 to 1 in steps of 0.001."""
        true = [
            softmax(scores / temperature, axis=1)[np.arange(len(targets)), targets]
            for scores, temperature in zip(logits, temperatures, strict=True)
        ]
        shares = np.linspace(0, 1, 1001)[:, None]
        return np.log(shares * true[0] + (1 - shares) * true[1]).sum(axis=1)

    best = likelihoods(fitted.temperatures).argmax() / 1000
    assert 0.02 < best < 0.98 and fitted.weights[0] == pytest.approx(best, abs=0.005)
    assert abs(likelihoods([1, 1]).argmax() / 1000 - best) > 0.02  # weights of the untempered would be noticed


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_the_pool_is_the_weighted_mean_of_tempered_probabilities_at_its_own_temperature(
    chain: Chain, split: str
) -> None:
    means = member_means(chain, split)
    weights = read_weights(chain.stages["ensemble"].folder)
    expected = sum(
        weight * softmax(np.log(means[name]) / temperature, axis=1)
        for name, weight, temperature in zip(weights.names, weights.weights, weights.temperatures, strict=True)
    )
    found = read_predictions(chain.stages["ensemble"].folder, split)
    expected = softmax(np.log(expected) / weights.temperature, axis=1)
    np.testing.assert_allclose(np.exp(found.members["identity"]), expected, atol=1e-4)
    assert weights.temperature != 1 and not weights.log_linear


def test_weights_are_fitted_without_test(chain: Chain) -> None:
    described = json.loads((chain.stages["ensemble"].folder / "weights.json").read_text())
    assert set(described) == {"pooling", "temperature", "view_temperature", "teachers", "val"}
    assert all(
        set(row) == {"weight", "temperature", "view_temperature", "val"} for row in described["teachers"].values()
    )


def test_the_ensemble_has_no_predictions_of_train(chain: Chain) -> None:
    assert not (chain.stages["ensemble"].folder / "train").exists()


def test_a_log_linear_pool_is_the_weighted_mean_of_logarithms(chain: Chain, tmp_path: Path) -> None:
    parts = {name: stage_result(chain.experiment, f"predictions/{name}").folder for name in ("convnext", "probe")}
    weights, description = fit(chain.manifest, parts, "log_linear")
    write_json(tmp_path / "weights.json", description)
    read = read_weights(tmp_path)
    assert read.log_linear and read.temperature == pytest.approx(weights.temperature, abs=1e-5)
    found = pooled_predictions(parts, weights, "val").members["identity"]
    means = member_means(chain, "val")
    logs = [log_softmax(np.log(means[name]) / t, axis=1) for name, t in zip(parts, weights.temperatures, strict=True)]
    mixed = sum(weight * log for weight, log in zip(weights.weights, logs, strict=True))
    np.testing.assert_allclose(found, log_softmax(mixed / weights.temperature, axis=1), atol=2e-3)


def test_the_ensemble_lists_what_pools_and_teachers_are_worth(chain: Chain) -> None:
    folder = chain.stages["ensemble"].folder
    pooling, contributions, diversity = (
        pd.read_csv(folder / f"{name}.csv") for name in ("pooling", "contributions", "diversity")
    )
    assert list(pooling["model"]) == ["convnext", "probe", *METHODS]
    assert list(pooling.loc[pooling["chosen"], "model"]) == ["equal"]
    assert list(contributions["teacher"]) == ["convnext", "probe"] and list(contributions["weight"]) == [0.5, 0.5]
    assert list(zip(diversity["teacher"], diversity["other"], strict=True)) == [("convnext", "probe")]


def test_auto_takes_the_method_of_the_least_nested_nll(chain: Chain) -> None:
    parts = {name: stage_result(chain.experiment, f"predictions/{name}").folder for name in ("convnext", "probe")}
    val = val_predictions(chain.manifest, parts)
    rows = [row for row in pooling_rows(*val, "equal") if row["kind"] == "pool"]
    best = min(rows, key=lambda row: float(str(row["val_nll"])))
    assert chosen_method("auto", *val) == best["model"]
    assert chosen_method("greedy", *val) == "greedy"
    one_group = np.zeros(len(val[1]))
    assert chosen_method("auto", *val[:2], one_group) == "convex"
