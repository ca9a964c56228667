"""benchmarks/cleaning.py writes its table from drawn vehicles alone; its shares are those of planted labels."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from decant.benchmarking.cleaning_benchmark import (
    CLEANING_COLUMNS,
    cleaned_row,
    networks_row,
    relabelled,
    vote_cells,
)
from decant.cleaning.label_noise import JudgedLabels, judge_labels
from decant.data.manifest import COLUMNS, Manifest
from decant.errors import UserError
from decant.stages.clean import Cleaned

At = Callable[[str], ModuleType]
SMALL = (
    "data.toy.images=120", "data.toy.size_px=48", "data.toy.classes=3", "clean.encoder.architecture=test_efficientnet",
    "clean.encoder.weights=[none]", "clean.encoder.input_px=32", "clean.folds=2",
)  # fmt: skip


def manifest_of(labels: list[str | None], split: str = "train") -> Manifest:
    names = [f"{split}.parquet#{number}" for number in range(len(labels))]
    rows = [
        (name, name, name, label, label, split, name, 1.0, "none", "", 8, 8)
        for name, label in zip(names, labels, strict=True)
    ]
    return Manifest(pd.DataFrame(rows, columns=COLUMNS), ["cat", "dog"])


def cleaned_of(manifest: Manifest, part: str = "train") -> Cleaned:
    """Judged by predictions that are sure of a cat everywhere."""
    ids = manifest.rows["id"].to_numpy()
    targets = manifest.targets(manifest.rows)
    probabilities = np.tile([0.95, 0.05], (len(ids), 1))
    return Cleaned(manifest, pd.DataFrame(), {part: judge_labels(probabilities, targets, ids, list(ids))})


def test_toy_vehicles_need_no_data(script_at: At, tmp_path: Path) -> None:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    script = script_at("benchmarks/cleaning.py")
    script.main(["toy_vehicles", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path), *settings])
    with (tmp_path / "toy_vehicles.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        planted, true = reader
    assert tuple(reader.fieldnames or ()) == CLEANING_COLUMNS
    assert (planted["labels"], true["labels"]) == ("planted", "true")
    assert float(planted["wrong"]) > 0
    assert float(true["wrong"]) == float(true["weight_lost"]) == 0
    found = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
    assert "test_efficientnet" in found["toy_vehicles.csv"]["model"]["name"]


def test_missing_data_is_an_error_that_names_it(script_at: At, tmp_path: Path) -> None:
    words = ["cars_body", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"cars\.zip"):
        script_at("benchmarks/cleaning.py").main(words)


def test_only_labelled_rows_get_another_label() -> None:
    manifest = relabelled(
        manifest_of(["cat", None, "dog"]), {"train.parquet#0": "dog", "train.parquet#1": "dog", "absent": "cat"}
    )
    assert manifest.rows["given_label"].tolist() == manifest.rows["label"].tolist() == ["dog", None, "dog"]


def test_lost_weight_and_images_set_aside_are_shares_of_the_labelled_images_of_train() -> None:
    manifest = manifest_of(["cat", "dog", "cat", "dog", None])
    rows = manifest.rows.copy()
    rows.loc[0, "weight"], rows.loc[1, "action"], rows.loc[2, "label"] = 0.0, "drop", "dog"
    row = cleaned_row(cleaned_of(Manifest(rows, manifest.classes)))
    assert (row["weight_lost"], row["set_aside"]) == (0.5, 0.25)


def test_the_share_of_wrong_labels_is_that_of_the_true_ones() -> None:
    manifest = manifest_of(["cat", "dog", "cat", "dog"])
    true = {f"train.parquet#{number}": "cat" for number in range(4)}
    assert cleaned_row(cleaned_of(manifest), true)["wrong"] == 0.5


def test_predictions_of_several_networks_are_averaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 600)
    wrong = rng.random(600) < 0.1
    given = np.where(wrong, (true + 1) % 3, true)
    sure = np.eye(3)[true] * 0.9 + 0.1 / 3
    np.savez(tmp_path / "two.npz", probabilities=np.stack([sure, sure]), given=given, true=true)
    row = networks_row(tmp_path / "two.npz")
    assert row["wrong"] == pytest.approx(wrong.mean())
    assert set(row) <= set(CLEANING_COLUMNS)


def test_votes_count_for_suspects_alone(tmp_path: Path) -> None:
    manifest = manifest_of(["cat"] * 40 + ["dog"] * 4, split="test")
    judged = cleaned_of(manifest, "val_and_test").judged["val_and_test"]
    suspects = pd.DataFrame({"id": ["test.parquet#40", "test.parquet#41"]})
    cleaned = Cleaned(manifest, pd.DataFrame(), {"val_and_test": JudgedLabels(judged.ids, judged.noise, suspects)})
    votes = [{"id": number, "mturk": {"given": 2 if number == 41 else 5}} for number in (0, 40, 41)]
    (tmp_path / "votes.json").write_text(json.dumps(votes), encoding="utf-8")
    assert vote_cells(cleaned, tmp_path / "votes.json") == {"voted": 2, "confirmed": 0.5}
