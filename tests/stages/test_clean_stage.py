"""What cleaning may look at: labels of val and test decide nothing about train."""

import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from decant.cleaning.issues import cleaning_metrics
from decant.data.manifest import CLUSTER, COLUMNS, Manifest, row_id
from decant.errors import UserError
from decant.stages.clean import (
    Looks,
    check_classes,
    check_extra_is_usable,
    check_splits,
    clean_manifest,
    judged_labels,
    log_issues,
    warn_of_clusters,
)
from decant.study_reading import load_study

CLASSES = ["car", "truck", "van"]


def blobs(seed: int = 0) -> tuple[Manifest, Looks]:
    """Three well-parted classes, 40 train and 15 test rows each, 10 labels of train wrong, in all classes.

    The distance from the other classes varies, as it does in images: some predictions are surer than others.
    """
    draw = np.random.default_rng(seed)
    rows, features = [], []
    for number in range(165):
        true, split = number % 3, "train" if number < 120 else "test"
        given = (true + 1) % 3 if split == "train" and number % 13 == 0 else true
        path = f"{split}/{number}.jpg"
        rows.append((row_id(path), path, path, CLASSES[given], CLASSES[given], split, path, 1.0, "none", "", 8, 8))
        features.append(draw.normal(scale=0.5, size=6) + 2 * (1 + number % 5) * np.eye(6)[true])
    table = pd.DataFrame(
        rows,
        columns=[
            "id", "content", "path", "given_label", "label", "split", "group", "weight", "action", "reason",
            "width", "height",
        ],
    )[list(COLUMNS)]  # fmt: skip
    found = np.array(features, dtype=np.float32)
    return Manifest(table, CLASSES), Looks(found, found, np.zeros((len(found), 32, 32, 3), np.uint8))


def test_permuted_test_labels_change_nothing_about_train() -> None:
    manifest, looks = blobs()
    rows = manifest.rows.copy()
    test = rows["split"] == "test"
    labels = list(rows.loc[test, "label"])
    rows.loc[test, "label"] = labels[1:] + labels[:1]
    permuted = Manifest(rows, CLASSES)
    honest = judged_labels(manifest, looks, manifest.rows.index, 3, 0)["train"].suggested
    misled = judged_labels(permuted, looks, permuted.rows.index, 3, 0)["train"].suggested
    assert len(honest) >= 3
    pd.testing.assert_frame_equal(honest, misled)


def test_wrong_test_labels_are_reported_all_the_same() -> None:
    manifest, looks = blobs()
    rows = manifest.rows.copy()
    wrong = rows.index[rows["split"] == "test"][::7]
    rows.loc[wrong, "label"] = [CLASSES[(CLASSES.index(label) + 1) % 3] for label in rows.loc[wrong, "label"]]
    spoilt = Manifest(rows, CLASSES)
    suspects = set(judged_labels(spoilt, looks, rows.index, 3, 0)["val_and_test"].suggested["id"])
    assert len(suspects & set(rows.loc[wrong, "id"])) >= 4


def test_an_empty_split_is_told_before_anything_is_trained() -> None:
    manifest, _ = blobs()
    with pytest.raises(UserError, match="is left for val"):
        check_splits(manifest)


def test_the_message_for_few_images_names_their_number_and_the_key() -> None:
    manifest, _ = blobs()
    with pytest.raises(UserError, match=r"the largest class has 56.*at least 4 images.*data\.split_file"):
        check_splits(manifest)


def test_a_class_without_weight_in_train_is_an_error_with_an_example() -> None:
    manifest, _ = blobs()
    rows = manifest.rows.copy()
    vans = rows["given_label"] == "van"
    rows.loc[vans, ["weight", "action"]] = [0.0, "downweight"]
    rows.loc[vans, "reason"] = "conflict: the same file is labelled car, van"
    with pytest.raises(UserError, match=r"class 'van' .*train/\d+\.jpg: conflict.*clean\.policy: report"):
        check_classes(Manifest(rows, CLASSES))
    check_classes(manifest)


def test_labels_of_train_are_not_checked_where_each_class_has_one_image(caplog: pytest.LogCaptureFixture) -> None:
    manifest, looks = blobs()
    rows = pd.concat([manifest.rows.iloc[1:4], manifest.rows.iloc[120:130]], ignore_index=True)
    few = Looks(
        *(np.concatenate([part[1:4], part[120:130]]) for part in (looks.features, looks.mirrored, looks.thumbnails))
    )
    judged = judged_labels(Manifest(rows, CLASSES), few, rows.index, 5, 0)
    assert judged["train"].suspects.empty
    assert len(judged["train"].ids) == 0
    assert "labels of train are not checked" in caplog.text


def test_a_train_that_is_a_copy_of_val_and_test_is_a_user_error_with_an_example() -> None:
    manifest, looks = blobs()
    rows = manifest.rows.copy()
    rows.loc[120:140, "split"] = "val"
    rows.loc[:119, "content"] = [rows.at[120 + number % 45, "content"] for number in range(120)]
    study = load_study("cifar10")
    with pytest.raises(UserError, match=r"is left for train .*120 images of train are set aside.*leak: its group"):
        clean_manifest(study, Manifest(rows, CLASSES), looks, rows.index)


def test_extra_sources_without_a_usable_image_are_a_user_error() -> None:
    rows = blobs()[0].rows.iloc[:2].assign(action="drop", reason="broken: not an image")
    with pytest.raises(UserError, match=r"none of the 2 images of the extra sources .*broken: not an image"):
        check_extra_is_usable(rows)
    check_extra_is_usable(rows.assign(action=["none", "drop"]))
    check_extra_is_usable(rows[:0])


def test_given_splits_that_divide_clusters_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    rows = pd.DataFrame(
        {
            "action": "none",
            "split": ["train", "test", "train", "train", "predict"],
            CLUSTER: ["car", "car", "bus", "bus", "bus"],
        }
    )
    manifest = SimpleNamespace(kept=lambda: rows)
    warn_of_clusters(manifest)  # type: ignore[arg-type]
    assert "1 of 2 clusters have images in several of train, val and test" in caplog.text
    caplog.clear()
    warn_of_clusters(SimpleNamespace(kept=lambda: rows[2:]))  # type: ignore[arg-type]
    warn_of_clusters(SimpleNamespace(kept=lambda: rows.drop(columns=CLUSTER)))  # type: ignore[arg-type]
    assert not caplog.text


@pytest.mark.parametrize(
    ("issues", "line"),
    [
        (
            {"broken": 0, "exact_duplicate": 2, "label": 7},
            "issues: 2 exact duplicate, 7 label; 38 of 40 images are kept",
        ),
        ({}, "issues: none; 38 of 40 images are kept"),
    ],
)
def test_the_log_names_each_kind_of_issue_that_was_found_and_what_is_kept(
    caplog: pytest.LogCaptureFixture, issues: dict[str, int], line: str
) -> None:
    with caplog.at_level(logging.INFO):
        log_issues({"issues": issues, "kept": 38, "found": 40})
    assert caplog.messages == [line]


def test_the_log_counts_what_the_stage_wrote(caplog: pytest.LogCaptureFixture) -> None:
    """One broken image, and labels in doubt."""
    manifest, looks = blobs()
    rows = manifest.rows.copy()
    rows.loc[0, ["action", "reason"]] = "drop", "broken: not an image"
    spoilt = Manifest(rows, CLASSES)
    seen = rows.index[1:]
    parts = (looks.features, looks.mirrored, looks.thumbnails)
    cleaned = clean_manifest(load_study("cifar10"), spoilt, Looks(*(part[1:] for part in parts)), seen)
    with caplog.at_level(logging.INFO):
        log_issues(cleaning_metrics(cleaned.manifest, cleaned.issues))
    (line,) = [message for message in caplog.messages if message.startswith("issues: ")]
    kinds = cleaned.issues["issue"].value_counts()
    assert "1 broken" in line and f"{kinds['label']} label" in line
    assert line.endswith(f"{len(cleaned.manifest.kept())} of 165 images are kept")
