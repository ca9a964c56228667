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

FEW_CLASSES, PER_CLASS, MOST_CLASSES = 12, 3, 48  # up to FEW_CLASSES, several images per class are shown
PAIRS, SHOWN, EXPLAINED = 6, 12, 6  # of duplicates; of suspects and of mistakes; activation maps
VIEWS_SHOWN = 7
DUPLICATE_ISSUES = ("exact_duplicate", "leak", "near_duplicate")
Read = Callable[[pd.DataFrame], dict[str, np.ndarray]]


def write_pictures(
    experiment: Experiment, manifest: Manifest, results: Mapping[str, StageResult], pixels: StageResult, folder: Path
) -> None:
    """Write the sheets below the study's gathered results; a sheet without images is left out."""
    images = _Images(experiment)
    write_sheet(*sample_tiles(manifest, images.read), folder / SAMPLES)
    issues = pd.read_csv(results["clean"].folder / "issues.csv", dtype=str, keep_default_na=False)
    write_sheet(duplicate_tiles(manifest, issues, images.read), 6, folder / DUPLICATES)
    write_sheet(suspect_tiles(manifest, issues, images.read), 6, folder / SUSPECTS)
    shown_views = view_tiles(experiment, manifest, results["clean"], PixelCache(pixels.folder), images.read)
    write_sheet(shown_views, 4, folder / VIEWS)
    if len(manifest.of_split("test")):
        prediction_folders = {
            "file": results["export"].folder / "predictions",
            "teachers": results["ensemble"].folder,
        }
        write_mistakes(manifest, prediction_folders, images.read, folder)
        tiles = activation_tiles(manifest, prediction_folders["file"], results["shipped"].folder, images.read)
        write_sheet(tiles, 6, folder / ACTIVATION)


class _Images:
    """Decoded images of manifest rows."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def read(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Manifest id -> uint8 [H, W, 3]; images that cannot be read are left out."""
        images = {}
        for id_, data in self.experiment.encoded_images(rows.drop_duplicates("id")):
            try:
                images[id_] = decode(data)
            except BrokenImage:
                continue
        return images


def sample_tiles(manifest: Manifest, read: Read) -> tuple[list[Tile], int]:
    """Tiles of images of train per class, in the order of the classes, and the number of columns."""
    train = manifest.of_split("train")
    classes = [name for name in manifest.classes if (train["label"] == name).any()]
    per_class = PER_CLASS if len(classes) <= FEW_CLASSES else 1
    chosen = [train[train["label"] == name].head(per_class) for name in classes[:MOST_CLASSES]]
    rows = pd.concat(chosen) if chosen else train.head(0)
    images = read(rows)
    return tiles(rows, images, lambda row: [str(row["label"])]), 6 if per_class > 1 else 8


def tiles(
    rows: pd.DataFrame, images: dict[str, np.ndarray], caption: Callable[[pd.Series], Sequence[str]]
) -> list[Tile]:
    return [Tile(images[row["id"]], caption(row)) for _, row in rows.iterrows() if row["id"] in images]


def duplicate_tiles(manifest: Manifest, issues: pd.DataFrame, read: Read) -> list[Tile]:
    """Tiles of pairs: an image with an issue, and another image of its group or with its content."""
    rows = manifest.rows.set_index("id", drop=False)
    per_issue = PAIRS // len(DUPLICATE_ISSUES)
    pairs = [
        (issue, *pair)
        for issue in DUPLICATE_ISSUES
        for pair in islice(pairs_alike(rows, issues.loc[issues["issue"] == issue, "id"]), per_issue)
    ]
    images = read(pd.DataFrame([row for _, *pair in pairs for row in pair], columns=rows.columns))
    return [
        Tile(images[row["id"]], [issue.replace("_", " "), f"{row['split']}: {row['given_label'] or '–'}"])
        for issue, *pair in pairs
        if all(row["id"] in images for row in pair)
        for row in pair
    ]


def pairs_alike(rows: pd.DataFrame, ids: Iterable[str]) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Pairs of an image and the first other image of its group or with its content; images without one are skipped."""
    for id_ in ids:
        row = rows.loc[id_]
        alike = rows[((rows["content"] == row["content"]) | (rows["group"] == row["group"])) & (rows["id"] != id_)]
        if len(alike):
            yield row, alike.iloc[0]


def suspect_tiles(manifest: Manifest, issues: pd.DataFrame, read: Read) -> list[Tile]:
    """Tiles of the most doubtful labels, with the suggested class in brackets."""
    doubtful = issues[issues["issue"] == "label"].head(SHOWN)
    rows = manifest.rows.set_index("id", drop=False).loc[list(doubtful["id"])]
    suggested = dict(zip(doubtful["id"], doubtful["suggested_label"], strict=True))
    return tiles(rows, read(rows), lambda row: [str(row["given_label"]), f"[{suggested[row['id']]}]"])


def view_tiles(
    experiment: Experiment, manifest: Manifest, cleaned: StageResult, cache: PixelCache, read: Read
) -> list[Tile]:
    """Tiles of an image of train, and of its first views that the student learns from."""
    view_set = stored_views(experiment.study, cache, labels_of(manifest, cache), input_geometry(experiment, cleaned))
    row = view_set.partners[:1]  # the first image with a label that is learned
    if not len(row):
        return []
    original = manifest.rows[manifest.rows["content"] == cache.contents[int(row[0])]].head(1)
    size = view_set.geometry.input_px(experiment.study.student.input_px)
    rendered = [view_set.render(row, view, size)[0].permute(1, 2, 0).numpy() for view in range(VIEWS_SHOWN)]
    return [
        *tiles(original, read(original), lambda _: ["the image"]),
        *(Tile(pixels, [f"view {view}"]) for view, pixels in enumerate(rendered)),
    ]


def write_mistakes(manifest: Manifest, prediction_folders: dict[str, Path], read: Read, folder: Path) -> None:
    """Write the worst mistakes, and typical ones of the commonest confusions, with both models' predictions."""
    rows = manifest.of_split("test")
    ids = list(rows["id"])
    predictions = {
        model: read_predictions(path, "test").aligned(ids).members["identity"]
        for model, path in prediction_folders.items()
    }
    all_mistakes = mistakes(predictions["file"], manifest.targets(rows))
    typical = [mistake for pair in commonest_confusions(all_mistakes, PAIRS) for mistake in pair[: SHOWN // PAIRS]]
    for chosen, sheet in ((all_mistakes[:SHOWN], WORST), (typical, TYPICAL)):
        write_sheet(mistake_tiles(manifest, rows, chosen, predictions, read), 4, folder / sheet)


def mistake_tiles(
    manifest: Manifest, rows: pd.DataFrame, chosen: Sequence[Mistake], predictions: dict[str, np.ndarray], read: Read
) -> list[Tile]:
    images = read(rows.iloc[[mistake.row for mistake in chosen]])
    tiles = []
    for mistake in chosen:
        row = rows.iloc[mistake.row]
        if row["id"] in images:
            captions = [
                f"{name} {prediction_text(manifest, log_probabilities[mistake.row])}"
                for name, log_probabilities in predictions.items()
            ]
            tiles.append(Tile(images[row["id"]], [str(row["label"]), *captions]))
    return tiles


def prediction_text(manifest: Manifest, log_probabilities: np.ndarray) -> str:
    """ "0.93 van": the highest probability and its class, whose name may be cut."""
    best = int(log_probabilities.argmax())
    return f"{short(str(float(np.exp(log_probabilities[best]))), 2)} {manifest.classes[best]}"


def activation_tiles(manifest: Manifest, predictions: Path, shipped: Path, read: Read) -> list[Tile]:
    """Tiles of inputs and their activation maps: the worst mistakes, then the most confident correct predictions."""
    rows, checkpoint = manifest.of_split("test"), load_checkpoint(shipped)
    log_probabilities = read_predictions(predictions, "test").aligned(list(rows["id"])).members["identity"]
    targets = manifest.targets(rows)
    right = np.flatnonzero(log_probabilities.argmax(axis=1) == targets)
    surest = right[np.argsort(-log_probabilities[right].max(axis=1), kind="stable")][: EXPLAINED // 2]
    worst = [mistake.row for mistake in mistakes(log_probabilities, targets)[: EXPLAINED - len(surest)]]
    positions = {rows["id"].iloc[row]: row for row in [*worst, *surest]}
    images = read(rows.iloc[list(positions.values())])
    readable = {id_: row for id_, row in positions.items() if id_ in images}
    if not readable:
        return []
    inputs = torch.stack([evaluation_transform(images[id_], checkpoint.preprocessing) for id_ in readable])
    predicted = torch.from_numpy(log_probabilities[list(readable.values())].argmax(axis=1))
    maps = activation_maps(checkpoint.classifier, inputs, predicted)
    if maps is None:
        return []
    tiles = []
    for row, image, heat in zip(readable.values(), inputs, maps, strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().clip(0, 255).astype(np.uint8)
        tiles.append(Tile(pixels, [str(rows["label"].iloc[row])]))
        tiles.append(Tile(overlaid(pixels, heat), [f"file {prediction_text(manifest, log_probabilities[row])}"]))
    return tiles
