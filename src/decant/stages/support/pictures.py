"""The pictures of a study: samples, duplicates, doubtful labels, training views, mistakes, activation maps."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import BrokenImage, decode
from decant.data.manifest import Manifest
from decant.data.pixels import PixelCache
from decant.data.predictions import read_predictions
from decant.evaluation.mistakes import Mistake, commonest_confusions, mistakes
from decant.evaluation.tables import short
from decant.models.activation_map import activation_maps
from decant.models.checkpoint import load_checkpoint
from decant.reporting.picture_sheets import Tile, overlaid, write_sheet
from decant.reporting.pictures import ACTIVATION, DUPLICATES, SAMPLES, SUSPECTS, TYPICAL, VIEWS, WORST
from decant.stages.soft_labels import stored_views
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.training_data import labels_of
from decant.workspace import StageResult

FEW_CLASSES, PER_CLASS, MOST_CLASSES = 12, 3, 48  # of few classes several images each are shown
PAIRS, SHOWN, EXPLAINED = 6, 12, 6  # of duplicates; of suspects and of mistakes; activation maps
VIEWS_SHOWN = 7
DUPLICATE_ISSUES = ("exact_duplicate", "leak", "near_duplicate")
Read = Callable[[pd.DataFrame], dict[str, np.ndarray]]


def write_pictures(
    experiment: Experiment, manifest: Manifest, results: Mapping[str, StageResult], pixels: StageResult, folder: Path
) -> None:
    """Write the sheets below the study's gathered results; one without images is left out."""
    images = _Images(experiment)
    write_sheet(*samples(manifest, images.read), folder / SAMPLES)
    issues = pd.read_csv(results["clean"].folder / "issues.csv", dtype=str, keep_default_na=False)
    write_sheet(duplicates(manifest, issues, images.read), 6, folder / DUPLICATES)
    write_sheet(suspects(manifest, issues, images.read), 6, folder / SUSPECTS)
    drawn = views(experiment, manifest, results["clean"], PixelCache(pixels.folder), images.read)
    write_sheet(drawn, 4, folder / VIEWS)
    if len(manifest.of_split("test")):
        answers = {
            "file": results["export"].folder / "predictions",
            "teachers": results["ensemble"].folder,
        }
        write_mistakes(manifest, answers, images.read, folder)
        tiles = explained(manifest, answers["file"], results["shipped"].folder, images.read)
        write_sheet(tiles, 6, folder / ACTIVATION)


class _Images:
    """Decoded images of manifest rows."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def read(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Manifest id -> uint8 [H, W, 3]; images that cannot be read are left out."""
        found = {}
        for id_, data in self.experiment.encoded_images(rows.drop_duplicates("id")):
            try:
                found[id_] = decode(data)
            except BrokenImage:
                continue
        return found


def samples(manifest: Manifest, read: Read) -> tuple[list[Tile], int]:
    """Images of train per class, in the order of the classes, and the number of columns."""
    kept = manifest.of_split("train")
    classes = [name for name in manifest.classes if (kept["label"] == name).any()]
    each = PER_CLASS if len(classes) <= FEW_CLASSES else 1
    chosen = [kept[kept["label"] == name].head(each) for name in classes[:MOST_CLASSES]]
    rows = pd.concat(chosen) if chosen else kept.head(0)
    images = read(rows)
    return tiles(rows, images, lambda row: [str(row["label"])]), 6 if each > 1 else 8


def tiles(
    rows: pd.DataFrame, images: dict[str, np.ndarray], caption: Callable[[pd.Series], Sequence[str]]
) -> list[Tile]:
    return [Tile(images[row["id"]], caption(row)) for _, row in rows.iterrows() if row["id"] in images]


def duplicates(manifest: Manifest, issues: pd.DataFrame, read: Read) -> list[Tile]:
    """Pairs: an image with an issue, and another image of its group or with its content."""
    rows = manifest.rows.set_index("id", drop=False)
    each = PAIRS // len(DUPLICATE_ISSUES)
    pairs = [
        (issue, *pair)
        for issue in DUPLICATE_ISSUES
        for pair in islice(pairs_alike(rows, issues.loc[issues["issue"] == issue, "id"]), each)
    ]
    images = read(pd.DataFrame([row for _, *pair in pairs for row in pair], columns=rows.columns))
    return [
        Tile(images[row["id"]], [issue.replace("_", " "), f"{row['split']}: {row['given_label'] or '–'}"])
        for issue, *pair in pairs
        if all(row["id"] in images for row in pair)
        for row in pair
    ]


def pairs_alike(rows: pd.DataFrame, ids: Iterable[str]) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Each of these images with the first other one of its group or with its content, if there is one."""
    for id_ in ids:
        one = rows.loc[id_]
        alike = rows[((rows["content"] == one["content"]) | (rows["group"] == one["group"])) & (rows["id"] != id_)]
        if len(alike):
            yield one, alike.iloc[0]


def suspects(manifest: Manifest, issues: pd.DataFrame, read: Read) -> list[Tile]:
    """The labels in the gravest doubt, with the suggested class in brackets."""
    doubtful = issues[issues["issue"] == "label"].head(SHOWN)
    rows = manifest.rows.set_index("id", drop=False).loc[list(doubtful["id"])]
    suggested = dict(zip(doubtful["id"], doubtful["suggested_label"], strict=True))
    return tiles(rows, read(rows), lambda row: [str(row["given_label"]), f"[{suggested[row['id']]}]"])


def views(
    experiment: Experiment, manifest: Manifest, cleaned: StageResult, cache: PixelCache, read: Read
) -> list[Tile]:
    """An image of train, and the first views of it that the student learns from."""
    drawn = stored_views(experiment.study, cache, labels_of(manifest, cache), input_geometry(experiment, cleaned))
    row = drawn.partners[:1]  # the first image with a label that is learned
    if not len(row):
        return []
    original = manifest.rows[manifest.rows["content"] == cache.contents[int(row[0])]].head(1)
    size = drawn.geometry.input_px(experiment.study.student.input_px)
    shown = [drawn.render(row, view, size)[0].permute(1, 2, 0).numpy() for view in range(VIEWS_SHOWN)]
    return [
        *tiles(original, read(original), lambda _: ["the image"]),
        *(Tile(pixels, [f"view {view}"]) for view, pixels in enumerate(shown)),
    ]


def write_mistakes(manifest: Manifest, answers: dict[str, Path], read: Read, folder: Path) -> None:
    """The worst mistakes, and typical ones of the commonest confusions, with both answers."""
    rows = manifest.of_split("test")
    ids = list(rows["id"])
    said = {name: read_predictions(path, "test").aligned(ids).members["identity"] for name, path in answers.items()}
    found = mistakes(said["file"], manifest.targets(rows))
    typical = [mistake for pair in commonest_confusions(found, PAIRS) for mistake in pair[: SHOWN // PAIRS]]
    for shown, name in ((found[:SHOWN], WORST), (typical, TYPICAL)):
        write_sheet(mistaken_tiles(manifest, rows, shown, said, read), 4, folder / name)


def mistaken_tiles(
    manifest: Manifest, rows: pd.DataFrame, shown: Sequence[Mistake], said: dict[str, np.ndarray], read: Read
) -> list[Tile]:
    images = read(rows.iloc[[mistake.row for mistake in shown]])
    found = []
    for mistake in shown:
        row = rows.iloc[mistake.row]
        if row["id"] in images:
            texts = [f"{name} {answer(manifest, values[mistake.row])}" for name, values in said.items()]
            found.append(Tile(images[row["id"]], [str(row["label"]), *texts]))
    return found


def answer(manifest: Manifest, log_probabilities: np.ndarray) -> str:
    """ "0.93 van": the highest probability and its class, whose name may be cut."""
    best = int(log_probabilities.argmax())
    return f"{short(str(float(np.exp(log_probabilities[best]))), 2)} {manifest.classes[best]}"


def explained(manifest: Manifest, predictions: Path, shipped: Path, read: Read) -> list[Tile]:
    """Pairs of an input and its activation map: the worst mistakes, then the surest right answers."""
    rows, checkpoint = manifest.of_split("test"), load_checkpoint(shipped)
    said = read_predictions(predictions, "test").aligned(list(rows["id"])).members["identity"]
    targets = manifest.targets(rows)
    right = np.flatnonzero(said.argmax(axis=1) == targets)
    surest = right[np.argsort(-said[right].max(axis=1), kind="stable")][: EXPLAINED // 2]
    worst = [mistake.row for mistake in mistakes(said, targets)[: EXPLAINED - len(surest)]]
    positions = {rows["id"].iloc[row]: row for row in [*worst, *surest]}
    images = read(rows.iloc[list(positions.values())])
    shown = {id_: row for id_, row in positions.items() if id_ in images}
    if not shown:
        return []
    inputs = torch.stack([evaluation_transform(images[id_], checkpoint.preprocessing) for id_ in shown])
    answered = torch.from_numpy(said[list(shown.values())].argmax(axis=1))
    maps = activation_maps(checkpoint.classifier, inputs, answered)
    if maps is None:
        return []
    found = []
    for row, image, heat in zip(shown.values(), inputs, maps, strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().clip(0, 255).astype(np.uint8)
        found.append(Tile(pixels, [str(rows["label"].iloc[row])]))
        found.append(Tile(overlaid(pixels, heat), [f"file {answer(manifest, said[row])}"]))
    return found
