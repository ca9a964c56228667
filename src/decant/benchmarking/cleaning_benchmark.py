"""Harm and benefit of cleaning, on data whose wrong labels are known or whose labels were judged by people."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from decant.cleaning.label_noise import JudgedLabels, NoiseRate, judge_labels
from decant.cleaning.policy import is_clear
from decant.data.manifest import Manifest, read_manifest
from decant.data.sources import toy_vehicles_folder
from decant.stages.clean import Cleaned, clean_manifest, look
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import encoder_geometry
from decant.stages.support.resolve import inputs_of

CLEANING_COLUMNS = (
    "labels", "images", "wrong", "rate", "joint", "joint_low", "joint_high", "duplicates", "duplicates_low",
    "duplicates_high", "pairs", "confident_joint", "suspects", "clear_suspects", "suggested", "precision", "recall",
    "weight_lost", "set_aside", "voted", "confirmed",
)  # fmt: skip
NETWORKS, VOTES = "out_of_fold_aggre.npz", "test_label_votes.json"
HUMAN_COLUMNS = ("aggre", "worse")
MAJORITY = 3  # of 5 people
Row = dict[str, Any]


def toy_vehicles_rows(experiment: Experiment) -> Iterator[Row]:
    """Rows for drawn vehicles: with the planted wrong labels, and with true labels instead."""
    study, drawn = experiment.study, experiment.workspace.store / "toy_vehicles"
    folder = toy_vehicles_folder(study.data, drawn, study.seed)
    manifest, *looks = manifest_with_looks(experiment)
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        true = {row["path"]: row["true_label"] for row in csv.DictReader(file) if row["true_label"]}
    for name, labels in (("planted", {}), ("true", true)):
        cleaned = clean_manifest(study, relabelled(manifest, labels), *looks)
        yield {"labels": name, **cleaned_row(cleaned, true)}


def cifar10_rows(experiment: Experiment) -> Iterator[Row]:
    """Rows for CIFAR-10: true labels and votes of people; labels of one and of three annotators; five networks."""
    folder = experiment.data_root / experiment.study.data.path
    manifest, *looks = manifest_with_looks(experiment)
    columns = pq.read_table(folder / "train.parquet", columns=["label", *HUMAN_COLUMNS]).to_pydict()

    def labels_of(column: str) -> dict[str, str]:
        return {f"train.parquet#{i}": manifest.classes[value] for i, value in enumerate(columns[column])}

    cleaned = clean_manifest(experiment.study, manifest, *looks)
    yield {"labels": "true", **cleaned_row(cleaned), **vote_cells(cleaned, folder / VOTES)}
    for column in HUMAN_COLUMNS:
        cleaned = clean_manifest(experiment.study, relabelled(manifest, labels_of(column)), *looks)
        yield {"labels": column, **cleaned_row(cleaned, labels_of("label"))}
    yield {"labels": "aggre, five networks", **networks_row(folder / NETWORKS)}


def study_rows(experiment: Experiment) -> Iterator[Row]:
    """One row for a study's own labels, whose errors are unknown."""
    manifest, *looks = manifest_with_looks(experiment)
    yield {"labels": "given", **cleaned_row(clean_manifest(experiment.study, manifest, *looks))}


def manifest_with_looks(experiment: Experiment) -> tuple[Manifest, Any, pd.Index]:
    """The manifest before cleaning, the looks of its readable images, and the index of their rows."""
    manifest = read_manifest(inputs_of(experiment, "clean").folder("manifest")).main()
    return (manifest, *look(experiment, manifest.rows, encoder_geometry(experiment.study, manifest)))


def relabelled(manifest: Manifest, labels: Mapping[str, str]) -> Manifest:
    """The manifest with other labels for the labelled rows whose path has one."""
    rows = manifest.rows.copy()
    new_labels = rows["path"].map(dict(labels))
    replaced = rows["given_label"].notna() & new_labels.notna()
    for column in ("given_label", "label"):
        rows[column] = rows[column].where(~replaced, new_labels)
    return Manifest(rows, manifest.classes)


def cleaned_row(cleaned: Cleaned, true: Mapping[str, str] | None = None) -> Row:
    """The cells for the labels of train. true: path -> true label, if known."""
    rows = cleaned.manifest.rows
    train = rows[(rows["split"] == "train") & rows["given_label"].notna() & ~rows["reason"].str.startswith("broken")]
    wrong = None
    if true is not None:
        wrong = set(train["id"][train["given_label"] != train["path"].map(true)])
    dropped = train["action"] == "drop"
    distrusted = (train["weight"] == 0) | (train["label"] != train["given_label"])
    return {
        **judged_cells(cleaned.judged["train"], wrong),
        "weight_lost": float((distrusted & ~dropped).mean()),
        "set_aside": float(dropped.mean()),
    }


def networks_row(path: Path) -> Row:
    """The cells for the mean out-of-fold probabilities of several networks, from an .npz file."""
    stored = np.load(path, allow_pickle=False)
    probabilities = stored["probabilities"].astype(np.float32).mean(axis=0)
    given, true = (stored[name].astype(np.int64) for name in ("given", "true"))
    ids = np.arange(len(given)).astype(str).astype(object)
    return judged_cells(judge_labels(probabilities, given, ids, list(ids)), set(ids[given != true]))


def judged_cells(judged: JudgedLabels, wrong: set[str] | None) -> Row:
    """Estimates and numbers of suspects as shares of the labels; precision and recall of the suggested ones."""
    n, noise = judged.noise.n, judged.noise
    row: Row = {
        "images": n,
        "rate": noise.rate,
        "confident_joint": noise.confident_joint,
        **estimate_cells("joint", noise.joint),
        **estimate_cells("duplicates", noise.duplicates),
        "pairs": noise.duplicates.n if noise.duplicates else 0,
        "suspects": len(judged.suspects) / n,
        "clear_suspects": sum(map(is_clear, judged.suspects.itertuples())) / n,
        "suggested": len(judged.suggested) / n,
    }
    if wrong is None:
        return row
    wrong, suggested = wrong & set(judged.ids), set(judged.suggested["id"])
    row["wrong"] = len(wrong) / n
    row["precision"] = len(wrong & suggested) / len(suggested) if suggested else None
    row["recall"] = len(wrong & suggested) / len(wrong) if wrong else None
    return row


def estimate_cells(name: str, estimate: NoiseRate | None) -> Row:
    if estimate is None:
        return {}
    return {name: estimate.rate, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def vote_cells(cleaned: Cleaned, path: Path) -> Row:
    """The number of suspects in test with votes of people, and the share whose given label a majority confirms."""
    votes = {
        f"test.parquet#{vote['id']}": vote["mturk"]["given"] for vote in json.loads(path.read_text(encoding="utf-8"))
    }
    paths = cleaned.manifest.rows.set_index("id")["path"]
    confirmations = [votes[name] for name in paths[cleaned.judged["val_and_test"].suspects["id"]] if name in votes]
    confirmed = float(np.mean([count >= MAJORITY for count in confirmations])) if confirmations else None
    return {"voted": len(confirmations), "confirmed": confirmed}
