"""The precision table, worked out again by scikit-learn from the stored predictions."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score

from decant.cleaning.issues import list_issues
from decant.cleaning.policy import apply_policy
from decant.data.manifest import Manifest, row_id
from decant.data.predictions import read_predictions
from decant.stages.clean import leaking
from decant.stages.precision import repeated_in_train, scored_models
from decant.stages.publish import PRECISION_FILES
from decant.stages.soft_labels import open_store, stored_views
from decant.stages.support.resolve import inputs_of, stage_result
from decant.stages.support.weights import active_teachers, read_weights

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
    "student_onnx_int8": "student_onnx_int8",
}


def answers_of(chain: Chain, model: str, split: str, ids: list[str]) -> np.ndarray:
    """Probabilities of a model, float64 [n, K]; the mean over its TTA views of an image for a row `_tta`."""
    members = read_predictions(place_of(chain, model.removesuffix("_tta")), split).aligned(ids).members
    chosen = list(members.values()) if model.endswith("_tta") else [members["identity"]]
    return np.mean([np.exp(values.astype(np.float64)) for values in chosen], axis=0)


def place_of(chain: Chain, model: str) -> Path:
    """Where a model's predictions lie."""
    if model == "ensemble":
        return chain.stages["ensemble"].folder
    if model.startswith("student_onnx"):
        return chain.stages["int8" if model.endswith("int8") else "export"].folder / "predictions"
    return stage_result(chain.experiment, f"predictions/{model}").folder


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
    manifest = chain.manifest
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


def test_a_study_that_wants_no_int8_file_has_no_row_for_one(chain: Chain) -> None:
    section = chain.experiment.study.export.model_copy(update={"int8": False})
    study = chain.experiment.study.model_copy(update={"export": section})
    experiment = dataclasses.replace(chain.experiment, study=study)
    models = scored_models(list(study.teachers), inputs_of(experiment, "benchmarks/precision"))
    assert list(models) == [model for model in MODELS if model != "student_onnx_int8"]


def test_the_ensemble_agrees_with_itself_and_others_as_counted(chain: Chain, table: pd.DataFrame) -> None:
    ids = list(chain.manifest.of_split("test")["id"])
    answers = {model: answers_of(chain, model, "test", ids).argmax(axis=1) for model in MODELS}
    for row in table[table["split"] == "test"].to_dict("records"):
        share = np.mean(answers[row["model"]] == answers["ensemble"])
        assert row["agreement_with_ensemble"] == pytest.approx(share, abs=1e-4)


def test_every_table_that_is_published_lies_beside_it(chain: Chain) -> None:
    names = {path.name for path in chain.stages["precision"].folder.iterdir()}
    assert names >= {"metrics.csv", "confusion_student_onnx.csv", "confusion_ensemble.csv", *PRECISION_FILES}


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_shipped_student_is_compared_with_every_other_model(chain: Chain, split: str) -> None:
    compared = pd.read_csv(chain.stages["precision"].folder / "comparisons.csv")
    compared = compared[(compared["split"] == split) & (compared["model"] == "student_onnx")]
    assert list(compared["other"]) == [model for model in MODELS if model != "student_onnx"]
    manifest = chain.manifest
    rows = manifest.of_split(split)
    right = {
        model: answers_of(chain, model, split, list(rows["id"])).argmax(axis=1) == manifest.targets(rows)
        for model in MODELS
    }
    for row in compared.to_dict("records"):
        mine, other = right["student_onnx"], right[row["other"]]
        only_mine, only_other = int((mine & ~other).sum()), int((other & ~mine).sum())
        assert (row["only_model_right"], row["only_other_right"]) == (only_mine, only_other)
        assert row["accuracy_difference"] == pytest.approx(mine.mean() - other.mean(), abs=1e-4)
        assert row["accuracy_difference_low"] <= row["accuracy_difference"] <= row["accuracy_difference_high"]
        apart = only_mine + only_other
        expected = binomtest(only_mine, apart).pvalue if apart else 1.0
        assert row["mcnemar_p"] == pytest.approx(expected, abs=1e-4)


def test_splits_that_were_drawn_have_no_duplicate_in_train(chain: Chain, table: pd.DataFrame) -> None:
    train = chain.manifest.rows.query("split == 'train'")
    assert train["group"].duplicated().any()  # there are duplicates, kept together
    repeated = pd.read_csv(chain.stages["precision"].folder / "near_duplicates.csv")
    none = repeated[repeated["subset"] == "with_duplicate"]
    assert len(none) == len(table) and (none["n"] == 0).all() and none["accuracy"].isna().all()
    for subset in ("all", "without_duplicate"):
        same = repeated[repeated["subset"] == subset].reset_index(drop=True)
        columns = ["model", "kind", "split", "n", "accuracy", "accuracy_low", "accuracy_high"]
        pd.testing.assert_frame_equal(same[columns], table[columns])


def leaky() -> Manifest:
    """A given split that leaks: test/0 has two copies in train, test/1 one, test/2 one in val; train/5 is broken."""
    groups = {
        "test/0": "a", "train/0": "a", "train/1": "a", "test/1": "b", "train/2": "b", "test/2": "c", "val/0": "c",
        "test/3": "d", "val/1": "e", "train/3": "f", "train/4": "f", "train/5": "g",
    }  # fmt: skip
    rows = [
        (row_id(path), path, path, "car", "car", path.split("/")[0], group, 1.0, "none", "", 8, 8)
        for path, group in groups.items()
    ]
    table = pd.DataFrame(
        rows,
        columns=[
            "id", "content", "path", "given_label", "label", "split", "group", "weight", "action", "reason",
            "width", "height",
        ],
    )  # fmt: skip
    table.loc[table["path"] == "train/5", ["action", "reason"]] = ["drop", "broken: cut off"]
    return Manifest(table, ["car", "van"])


def cleaned(manifest: Manifest, policy: Any) -> Manifest:
    """As the clean stage leaves it."""
    pairs = pd.DataFrame({"first": [], "second": [], "score": []})
    suspects = pd.DataFrame(columns=["id", "suggested", "self_confidence", "suggested_confidence"])
    issues = list_issues(manifest, pairs, None, leaking(manifest), {}, suspects)
    return apply_policy(manifest, issues, policy)[0]


@pytest.mark.parametrize(("policy", "in_train"), [("report", (0, 3)), ("duplicates", (3, 0)), ("aggressive", (3, 0))])
def test_an_image_that_leaked_is_found_whether_its_copies_were_set_aside_or_trained_on(
    policy: str, in_train: tuple[int, int]
) -> None:
    manifest = cleaned(leaky(), policy)
    rows = manifest.of_split("test")
    repeated, found = repeated_in_train(manifest, rows)
    assert set(rows["path"][repeated]) == {"test/0", "test/1"} and len(rows) == 4
    assert found == in_train
    val = manifest.of_split("val")
    none, nothing = repeated_in_train(manifest, val)
    assert not none.any() and nothing == (0, 0) and len(val) == (2 if policy == "report" else 1)


def test_soft_labels_are_held_against_the_given_labels_of_unmixed_views(chain: Chain) -> None:
    table = pd.read_csv(chain.stages["precision"].folder / "soft_labels.csv").set_index("model")
    data, study = chain.data, chain.experiment.study
    views = stored_views(study, data.cache, data.labels, chain.geometry)
    weights = read_weights(chain.stages["ensemble"].folder)
    stores = {
        name: open_store(stage_result(chain.experiment, f"soft_labels/{name}").folder)
        for name in active_teachers(weights)
    }
    assert list(table.index) == [*stores, "ensemble"]
    shares = dict(zip(weights.names, weights.weights, strict=True))
    temperatures = dict(zip(weights.names, weights.view_temperatures, strict=True))
    right: dict[str, list[bool]] = {name: [] for name in table.index}
    given: dict[str, list[float]] = {name: [] for name in table.index}
    for view in range(study.soft_labels.views):
        for row in data.labels.labelled:
            if views.draw(np.array([row]), view).partner[0] >= 0:
                continue
            said = {name: store.read(view, np.array([row]))[0].astype(np.float64) for name, store in stores.items()}
            sharpened = {name: p ** (1 / temperatures[name]) for name, p in said.items()}
            mean = np.sum([shares[name] * p / p.sum() for name, p in sharpened.items()], axis=0)
            said["ensemble"] = mean ** (1 / weights.view_temperature) / (mean ** (1 / weights.view_temperature)).sum()
            target = data.labels.targets[row]
            for name, p in said.items():
                right[name].append(int(p.argmax()) == target)
                given[name].append(float(p[target]))
    for name, row in table.iterrows():
        assert (row["views"], row["n"]) == (study.soft_labels.views, len(right[str(name)]))
        assert row["accuracy"] == pytest.approx(np.mean(right[str(name)]), abs=1e-4)
        assert row["probability"] == pytest.approx(np.mean(given[str(name)]), abs=1e-3)
    mixed = study.soft_labels.views * len(data.labels.labelled) - len(right["ensemble"])
    assert mixed > 0  # so that leaving them out was tried


def test_the_ensemble_is_compared_with_each_teacher_and_each_two_teachers_are(chain: Chain) -> None:
    table = pd.read_csv(chain.stages["precision"].folder / "comparisons.csv")
    for split in ("test", "val"):
        rows = table[(table["split"] == split) & (table["model"] != "student_onnx")]
        assert list(zip(rows["model"], rows["other"], strict=True)) == [
            ("student", "student_alone"),
            *(("ensemble", name) for name in ("convnext", "convnext_tta", "probe", "probe_tta")),
            ("convnext", "probe"),
        ]


def test_one_comparison_is_the_primary_one(chain: Chain) -> None:
    table = pd.read_csv(chain.stages["precision"].folder / "comparisons.csv")
    primary = table[table["primary"]]
    assert set(zip(primary["model"], primary["other"], strict=True)) == {("student", "student_alone")}
    assert list(primary["split"]) == ["test", "val"]
