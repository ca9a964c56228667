"""Stage clean: what is in the data, what is wrong with it, what is done about it, and the split of each row."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from decant.cleaning.duplicates import find_exact_duplicates, group_duplicates
from decant.cleaning.extra import check_extra, extra_issues, touching
from decant.cleaning.issues import cleaning_metrics, extra_counts, in_order, list_issues
from decant.cleaning.label_noise import JudgedLabels, judge_labels, label_noise_metrics
from decant.cleaning.near_duplicates import LOWEST_THRESHOLD, find_near_duplicates
from decant.cleaning.odd import find_odd
from decant.cleaning.policy import apply_policy
from decant.data.evaluation_transform import evaluation_transform
from decant.data.geometry import InputGeometry
from decant.data.images import decode
from decant.data.manifest import (
    CLUSTER,
    EXTRA,
    Manifest,
    dependent_groups,
    draw_splits,
    hide_labels,
    read_manifest,
    write_manifest,
)
from decant.data.pool import batched, parallel
from decant.data.preprocessing import Preprocessing
from decant.data.splits import EACH_SPLIT_FROM_GROUPS, separate_groups
from decant.errors import UserError
from decant.evaluation.metrics import class_count_rows
from decant.models.inference import features_of
from decant.models.out_of_fold import out_of_fold, possible_folds, probe_probabilities
from decant.seeds import derived_seed
from decant.stages.support.auto_settings import source_digest
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import encoder_geometry, encoder_network, encoder_source, geometry_settings
from decant.stages.support.resolve import Inputs
from decant.stages.support.tracked import artifact, flat
from decant.study import Study, non_defaults
from decant.tracking import Artifact, Record, progress
from decant.workspace import write_json

log = logging.getLogger(__name__)
VERSION = 2
THUMBNAIL_PX = 32


@dataclass(frozen=True)
class Looks:
    """Features and thumbnails of n images, in one order.

    features, mirrored: float32 [n, D], of the images and of their mirror images. thumbnails: uint8 [n, 32, 32, 3].
    """

    features: np.ndarray
    mirrored: np.ndarray
    thumbnails: np.ndarray


@dataclass(frozen=True)
class Cleaned:
    """The cleaned manifest, the issues with their actions, and the judged labels of "train" and "val_and_test"."""

    manifest: Manifest
    issues: pd.DataFrame
    judged: dict[str, JudgedLabels]


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    study = experiment.study
    fractions = {key: getattr(study.data, key) for key in ("val_fraction", "test_fraction")}
    if study.data.labelled_share < 1:
        fractions["labelled_share"] = study.data.labelled_share
    weights = source_digest(encoder_source(experiment))
    manifest = read_manifest(inputs.folder("manifest"))
    geometry = geometry_settings(encoder_geometry(study, manifest))
    return {**non_defaults(study.clean), **fractions, **geometry, "weights": weights, "seed": study.seed}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `manifest.parquet` with groups, splits and actions, `issues.csv` and `metrics.json`."""
    manifest = read_manifest(inputs.folder("manifest"))
    geometry = encoder_geometry(experiment.study, manifest)
    main, extra = manifest.main(), manifest.rows[manifest.is_extra()]
    check_extra_is_usable(extra)
    looks, index = look(experiment, main.rows, geometry)
    cleaned = clean_manifest(experiment.study, main, looks, index)
    check_splits(cleaned.manifest)
    check_classes(cleaned.manifest)
    if len(extra):
        further = look(experiment, extra, geometry)
        cleaned = with_extra(experiment.study, cleaned, extra, [(looks, index), further])
        log_extra(cleaned)
    write_manifest(cleaned.manifest, folder)
    cleaned.issues.to_csv(folder / "issues.csv", index=False, lineterminator="\n")
    noise = {part: label_noise_metrics(judged) for part, judged in cleaned.judged.items()}
    metrics = cleaning_metrics(cleaned.manifest, cleaned.issues)
    write_json(folder / "metrics.json", {**metrics, "label_noise": noise})
    log_issues(metrics)


def records(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> Iterator[Record]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    kept = read_manifest(folder).kept()
    classes = class_count_rows(list(kept["split"]), list(kept["label"]))
    own = artifacts(name, folder, experiment.study.data.may_be_shared)
    yield Record(summary=flat(metrics), tables={"classes": classes}, artifacts=own)


def artifacts(name: str, folder: Path, share: bool) -> list[Artifact]:
    """The metrics; also the manifest and the issues, which name the images, if these may be shared."""
    files = ["metrics.json", "manifest.parquet", "issues.csv"] if share else ["metrics.json"]
    return [artifact("data", "dataset", folder, files)]


def clean_manifest(study: Study, manifest: Manifest, looks: Looks, index: pd.Index) -> Cleaned:
    """The manifest with groups, splits and actions, the issues, and what was judged of its labels.

    looks: of the readable images; index: that of their manifest rows.
    """
    manifest, exact, near = grouped(manifest, looks, index, study.clean.near_duplicates)
    manifest = draw_splits(manifest, study.seed, study.data.val_fraction, study.data.test_fraction)
    warn_of_clusters(manifest)
    manifest = hide_labels(manifest, study.data.labelled_share, study.seed)
    leaks = leaking(manifest)
    usable = manifest if study.clean.policy == "report" else without(manifest, leaks)
    check_splits(usable)
    judged = judged_labels(usable, looks, index, study.clean.folds, derived_seed(study.seed, "label folds"))
    suggested = [part.suggested for part in judged.values()]
    suspects = pd.concat([part for part in suggested if len(part)] or suggested[:1], ignore_index=True)
    odd = {manifest.rows.at[index[i], "id"]: reason for i, reason in find_odd(looks.thumbnails).items()}
    issues = list_issues(manifest, exact, near, leaks, odd, suspects)
    return Cleaned(*apply_policy(manifest, issues, study.clean.policy), judged)


def warn_of_clusters(manifest: Manifest) -> None:
    """Log a warning if given splits divide clusters: what such images show leaks from train into val or test."""
    rows = manifest.kept()
    if CLUSTER not in rows:
        return
    splits = rows[rows["split"].isin(["train", "val", "test"])].groupby(CLUSTER)["split"].nunique()
    if divided := int((splits > 1).sum()):
        log.warning(
            "%d of %d clusters have images in several of train, val and test, as the given splits divide them; give "
            "splits that keep clusters whole, or none, so that they are drawn",
            divided, len(splits),
        )  # fmt: skip


def with_extra(study: Study, cleaned: Cleaned, extra: pd.DataFrame, parts: Sequence[tuple[Looks, pd.Index]]) -> Cleaned:
    """The cleaned main source with the rows of the extra sources, checked against it.

    The main source is cleaned before, alone: its splits and its val, test and predict rows do not depend on the extra
    ones. Copies of these rows are set aside under every policy. extra: rows of the manifest, after those of the main
    source. parts: the looks of the readable images and the index of their manifest rows, of the main source and of the
    extra sources.
    """
    rows = pd.concat([cleaned.manifest.rows.assign(**{EXTRA: 0}), extra])
    index = parts[0][1].append(parts[1][1])
    looks = joined_looks([looks for looks, _ in parts])
    readable = Manifest(rows.loc[index].reset_index(drop=True), cleaned.manifest.classes)
    exact = find_exact_duplicates(readable.rows)
    near = near_pairs(readable, looks, exact)
    checked = check_extra(readable, exact, near)
    rows.loc[index, ["group", "action", "reason"]] = checked.manifest.rows[["group", "action", "reason"]].to_numpy()
    manifest, ids = Manifest(rows, cleaned.manifest.classes), readable.rows["id"].to_numpy()
    is_extra = readable.is_extra().to_numpy()
    judged = judged_by_main(checked.manifest, looks, is_extra)
    odd = {ids[n]: reason for n, reason in find_odd(looks.thumbnails).items() if is_extra[n]}
    exact, near = by_id(touching(exact, is_extra), ids), by_id(touching(near, is_extra), ids)
    issues = extra_issues(manifest, checked, exact, near, odd, judged.suggested)
    manifest, issues = apply_policy(manifest, issues, study.clean.policy)
    all_issues = in_order(pd.concat([cleaned.issues, issues], ignore_index=True))
    return Cleaned(manifest, all_issues, {**cleaned.judged, "extra": judged})


def near_pairs(readable: Manifest, looks: Looks, exact: pd.DataFrame) -> pd.DataFrame:
    """The near pairs of all rows; they connect each copy with the val, test or predict image that it repeats.

    The threshold is the lowest one: a wrong pair costs an extra image, a missed one trains on a test image. Each image
    is compared with its few nearest neighbours, so many copies of one kind hide those of another kind. The search is
    therefore repeated without the copies that it found, until it finds none.
    """
    ids, pairs = readable.rows["id"], []
    searched = np.arange(len(ids))  # similarity is relative to the mean image, so all other images stay
    while True:
        parts = (looks.thumbnails[searched], looks.features[searched], looks.mirrored[searched])
        found_pairs = find_near_duplicates(*parts, threshold=LOWEST_THRESHOLD)
        pairs.append(found_pairs.assign(i=searched[found_pairs["i"]], j=searched[found_pairs["j"]]))
        near = pd.concat(pairs, ignore_index=True)
        leaks = check_extra(readable, exact, near).leaks
        remaining = searched[~ids.iloc[searched].isin(list(leaks)).to_numpy()]
        if len(remaining) == len(searched):
            return near
        searched = remaining


def joined_looks(parts: Sequence[Looks]) -> Looks:
    names = [field.name for field in fields(Looks)]
    return Looks(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def judged_by_main(manifest: Manifest, looks: Looks, is_extra: np.ndarray) -> JudgedLabels:
    """Judge the labels of the extra rows by a probe fitted on the main source's train."""
    rows, targets = manifest.rows, manifest.targets(manifest.rows)
    live = np.asarray((rows["action"] != "drop") & (rows["weight"] > 0) & (rows["split"] == "train")) & (targets >= 0)
    extra = np.flatnonzero(live & is_extra)
    train = np.flatnonzero(live & ~is_extra)
    probabilities = probe_probabilities(looks.features, targets, len(manifest.classes), train, extra)
    ids, groups = rows["id"].to_numpy()[extra], rows["group"].to_numpy()[extra]
    return judge_labels(probabilities, targets[extra], ids, list(groups))


def log_issues(metrics: Mapping[str, Any]) -> None:
    """One line on what was found and what is left."""
    counts = [f"{count} {issue.replace('_', ' ')}" for issue, count in metrics["issues"].items() if count]
    log.info("issues: %s; %d of %d images are kept", ", ".join(counts) or "none", metrics["kept"], metrics["found"])


def log_extra(cleaned: Cleaned) -> None:
    """One line on what became of the images of extra sources."""
    count = extra_counts(cleaned.manifest, cleaned.issues)
    log.info(
        "extra sources: %d of %d images are trained on, %d unlabelled ones are kept; %d copies of val, test or predict "
        "images and %d of other images of the main source are left out",
        count["train"], count["found"], count["unlabelled"], count["copies_of_val_test_or_predict"],
        count["copies_of_the_main_source"],
    )  # fmt: skip


def check_splits(manifest: Manifest) -> None:
    """Raise UserError if a split that the chain needs is empty."""
    for split in ("train", "val", "test"):
        if not (manifest.targets(manifest.of_split(split)) >= 0).any():
            set_aside = manifest.rows[(manifest.rows["split"] == split) & (manifest.rows["action"] == "drop")]
            first = "".join(f"{row.path}: {row.reason}" for row in set_aside.head(1).itertuples())
            example = f"; {len(set_aside)} images of {split} are set aside, for example {first}" if first else ""
            largest = manifest.kept().groupby("label")["group"].nunique().max()
            raise UserError(
                f"no labelled image is left for {split} ({len(manifest.kept())} are kept in all; the largest class has "
                f"{largest}, near duplicates counted once{example}). A split that is not given is drawn from classes "
                f"with at least {EACH_SPLIT_FROM_GROUPS} images. Give more images per class, or name the images of "
                "train, val and test in data.split_file"
            )


def check_extra_is_usable(extra: pd.DataFrame) -> None:
    """Raise UserError if there are extra images and none can be used. extra: rows of the manifest."""
    if len(extra) and (extra["action"] == "drop").all():
        raise UserError(
            f"none of the {len(extra)} images of the extra sources can be used, for example {extra['path'].iloc[0]}: "
            f"{extra['reason'].iloc[0]}. Give other files, or remove data.extra."
        )


def check_classes(manifest: Manifest) -> None:
    """Raise UserError, with an example, if a class has no image of positive weight in train."""
    train = manifest.of_split("train")
    trainable = set(train.loc[train["weight"] > 0, "label"])
    for name in manifest.classes:
        if name not in trainable:
            changed = manifest.rows[(manifest.rows["given_label"] == name) & (manifest.rows["action"] != "none")]
            example = f" For example {changed['path'].iloc[0]}: {changed['reason'].iloc[0]}." if len(changed) else ""
            raise UserError(
                f"no image of the class {name!r} is left to train on after cleaning.{example} Remove copies and wrong "
                "labels from the data, or keep every label with clean.policy: report."
            )


def look(experiment: Experiment, rows: pd.DataFrame, geometry: InputGeometry) -> tuple[Looks, pd.Index]:
    """Features and thumbnails of the readable images of manifest rows, and the index of these rows."""
    encoder = experiment.study.clean.encoder
    network = encoder_network(experiment, encoder)
    rows = rows[rows["action"] != "drop"]
    arrays_of: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    preprocessing = geometry.preprocessing(encoder.input_px, 1.0)
    for ids, images, thumbnails in prepared_batches(experiment, rows, preprocessing):
        images = images.to(experiment.device)
        arrays = features_of(network, images), features_of(network, images.flip(-1)), thumbnails
        arrays_of.update(zip(ids, zip(*arrays, strict=True), strict=True))
    columns = [np.stack(column) for column in zip(*(arrays_of[id_] for id_ in rows["id"]), strict=True)]
    return Looks(*columns), rows.index


def prepared_batches(
    experiment: Experiment, rows: pd.DataFrame, preprocessing: Preprocessing, batch_size: int = 64
) -> Iterator[tuple[list[str], torch.Tensor, np.ndarray]]:
    """Yield the ids, images (float32 [B, 3, H, W]) and thumbnails (uint8 [B, 32, 32, 3]) of each batch.

    Each image is decoded once.
    """

    def prepare(encoded: tuple[str, bytes]) -> tuple[str, torch.Tensor, np.ndarray]:
        pixels = decode(encoded[1])
        thumbnail = Image.fromarray(pixels).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
        return encoded[0], evaluation_transform(pixels, preprocessing), np.asarray(thumbnail)

    prepared = progress(parallel(prepare, experiment.encoded_images(rows)), "examining", len(rows), "images")
    for batch in batched(prepared, batch_size):
        ids, images, thumbnails = zip(*batch, strict=True)
        yield list(ids), torch.stack(images), np.stack(thumbnails)


def grouped(
    manifest: Manifest, looks: Looks, index: pd.Index, look_for_near: bool
) -> tuple[Manifest, pd.DataFrame, pd.DataFrame | None]:
    """The manifest with duplicates in one group, and the exact and the near pairs of ids."""
    rows = manifest.rows.loc[index]
    exact, near = find_exact_duplicates(rows), None
    if look_for_near:
        near = find_near_duplicates(looks.thumbnails, looks.features, looks.mirrored)
    groups = manifest.rows["group"].copy()
    groups.loc[index] = group_duplicates(rows, exact, near)
    ids = rows["id"].to_numpy()
    with_groups = Manifest(manifest.rows.assign(group=groups), manifest.classes)
    return with_groups, by_id(exact, ids), None if near is None else by_id(near, ids)


def by_id(pairs: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Pairs of positions as pairs of manifest ids: first, second, score."""
    return pd.DataFrame({"first": ids[pairs["i"]], "second": ids[pairs["j"]], "score": pairs["score"]})


def leaking(manifest: Manifest) -> pd.Series:
    """id -> reason, for the rows whose group also has rows in a stricter split."""
    separated = separate_groups(manifest.rows)
    changed = (separated["action"] == "drop") & (manifest.rows["action"] != "drop")
    return separated[changed].set_index("id")["reason"]


def without(manifest: Manifest, leaks: pd.Series) -> Manifest:
    """The manifest with the leaking rows dropped."""
    rows = manifest.rows.copy()
    is_leak = rows["id"].isin(leaks.index)
    rows.loc[is_leak, "action"] = "drop"
    rows.loc[is_leak, "reason"] = rows.loc[is_leak, "id"].map(leaks)
    return Manifest(rows, manifest.classes)


def judged_labels(manifest: Manifest, looks: Looks, index: pd.Index, k: int, seed: int) -> dict[str, JudgedLabels]:
    """Judge the labels of "train", by out-of-fold probabilities, and of "val_and_test", by a probe fitted on train."""
    rows = manifest.rows.loc[index]
    targets = manifest.targets(rows)
    live = np.asarray(rows["action"] != "drop") & (targets >= 0)
    train = np.flatnonzero(live & np.asarray(rows["split"] == "train"))
    val_and_test = np.flatnonzero(live & np.asarray(rows["split"].isin(["val", "test"])))
    groups: Any = dependent_groups(rows)
    ids = rows["id"].to_numpy()
    classes = len(manifest.classes)
    probabilities = np.zeros((len(rows), classes))
    probabilities[train] = out_of_fold(looks.features[train], targets[train], groups[train], classes, k, seed)
    probabilities[val_and_test] = probe_probabilities(looks.features, targets, classes, train, val_and_test)
    if possible_folds(targets[train], groups[train], k) < 2:
        log.warning("labels of train are not checked: no class has two images (near duplicates counted once)")
        train = train[:0]
    # Separately: what is done to train must not depend on any label of val or test.
    return {
        name: judge_labels(probabilities[part], targets[part], ids[part], list(groups[part]))
        for name, part in (("train", train), ("val_and_test", val_and_test))
    }
