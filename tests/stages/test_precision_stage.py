"""The precision table, worked out again by scikit-learn from the stored predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score

from decant.data.predictions import read_predictions
from decant.stages.labels import read_cleaned
from decant.stages.predictions import predictions

Chain = Any
MODELS = {
    "convnext": "teacher",
    "convnext_tta": "teacher",
    "probe": "teacher",
    "probe_tta": "teacher",
    "ensemble": "ensemble",
    "student_alone": "student_alone",
    "student": "student",
    "student_onnx": "student_onnx",
}


def answers_of(chain: Chain, model: str, split: str, ids: list[str]) -> np.ndarray:
    """Probabilities of a model, float64 [n, K]; the mean over its views of a picture for a row `_tta`."""
    members = read_predictions(place_of(chain, model.removesuffix("_tta")), split).aligned(ids).members
    chosen = list(members.values()) if model.endswith("_tta") else [members["identity"]]
    return np.mean([np.exp(values.astype(np.float64)) for values in chosen], axis=0)


def place_of(chain: Chain, model: str) -> Path:
    """Where a model's predictions lie."""
    if model == "ensemble":
        return chain.stages["ensemble"].folder
    if model == "student_onnx":
        return chain.stages["export"].folder / "predictions"
    stage = model if model.startswith("student") else f"teachers/{model}"
    return predictions(chain.experiment, model, chain.stages[stage]).folder


@pytest.fixture(scope="module")
def table(chain: Chain) -> pd.DataFrame:
    return pd.read_csv(chain.stages["precision"].folder / "metrics.csv")


def test_every_model_has_a_row_on_test_and_on_val(table: pd.DataFrame) -> None:
    for split in ("test", "val"):
        rows = table[table["split"] == split]
        assert dict(zip(rows["model"], rows["kind"], strict=True)) == MODELS
        assert (rows["n"] == 9).all()


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("model", list(MODELS))
def test_the_numbers_are_those_of_scikit_learn(chain: Chain, table: pd.DataFrame, model: str, split: str) -> None:
    manifest = read_cleaned(chain.experiment)
    rows = manifest.of_split(split)
    targets = manifest.targets(rows)
    probabilities = answers_of(chain, model, split, list(rows["id"]))
    answers = probabilities.argmax(axis=1)
    expected = {
        "accuracy": accuracy_score(targets, answers),
        "precision_macro": precision_score(targets, answers, average="macro", zero_division=0),
        "recall_macro": recall_score(targets, answers, average="macro", zero_division=0),
        "f1_macro": f1_score(targets, answers, average="macro", zero_division=0),
        "nll": log_loss(targets, probabilities / probabilities.sum(axis=1, keepdims=True), labels=[0, 1, 2]),
    }
    (found,) = table[(table["model"] == model) & (table["split"] == split)].to_dict("records")
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-4), name


def test_the_ensemble_agrees_with_itself_and_others_as_counted(chain: Chain, table: pd.DataFrame) -> None:
    ids = list(read_cleaned(chain.experiment).of_split("test")["id"])
    answers = {model: answers_of(chain, model, "test", ids).argmax(axis=1) for model in MODELS}
    for row in table[table["split"] == "test"].to_dict("records"):
        share = np.mean(answers[row["model"]] == answers["ensemble"])
        assert row["agreement_with_ensemble"] == pytest.approx(share, abs=1e-4)


def test_comparisons_reliability_classes_and_confusions_lie_beside_it(chain: Chain) -> None:
    names = {path.name for path in chain.stages["precision"].folder.iterdir()}
    assert names >= {"per_class.csv", "comparisons.csv", "reliability.csv", "confusion_student_onnx.csv"}
    compared = pd.read_csv(chain.stages["precision"].folder / "comparisons.csv")
    assert set(compared["model"]) == {"student_onnx"} and "student_onnx" not in set(compared["other"])
