"""Speed of making soft labels, compared with the bare forward pass of the same network, and peak memory."""

import hashlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from decant.data.pixels import PixelCache
from decant.data.preprocessing import InputPx, Preprocessing, height_width
from decant.data.views import ViewSet
from decant.distillation.soft_labels import SoftLabelStore
from decant.evaluation.tables import rounded
from decant.models.backbones import build_classifier
from decant.models.checkpoint import Checkpoint
from decant.models.inference import for_inference
from decant.stages.support.labelling import BATCH, Labeller
from decant.study import Views
from decant.timing.turns import ratio_cells
from decant.training.loop import network_input
from decant.workspace import write_json

CLASSES = 10
NETWORKS: dict[str, tuple[str, int]] = {  # name -> architecture, side of the input
    "lite0": ("tf_efficientnet_lite0", 128),
    "lite2": ("tf_efficientnet_lite2", 192),
    "convnext_atto": ("convnext_atto", 128),
    "vit_tiny": ("vit_tiny_patch16_224", 224),
}
VIEWS = Views(scale=(0.6, 1.0), flip=0.5, rotate_deg=6, brightness=0.3, contrast=0.3, saturation=0.3, mix=0.2)
SPEED_COLUMNS = (
    "architecture", "input_px", "images",
    "made_per_second", "bare_per_second", "to_bare", "to_bare_low", "to_bare_high",
)  # fmt: skip
MEMORY_COLUMNS = ("images", "peak_mb")
MEMORY_NETWORK, MEMORY_PX = "test_efficientnet", 32


def write_cache(folder: Path, images: int, px: InputPx) -> PixelCache:
    """A pixel cache of noise in `folder`. px: side, or height and width."""
    height, width = height_width(px)
    pixels = np.lib.format.open_memmap(
        folder / "level_0.npy", mode="w+", dtype=np.uint8, shape=(images, height, width, 3)
    )
    random = np.random.default_rng(0)
    for row in range(0, images, BATCH):
        pixels[row : row + BATCH] = random.integers(0, 256, pixels[row : row + BATCH].shape, dtype=np.uint8)
    pixels.flush()
    np.save(folder / "sizes.npy", np.full((images, 2), (width, height), dtype=np.int32), allow_pickle=False)
    contents = sorted(hashlib.sha256(str(number).encode()).hexdigest() for number in range(images))
    write_json(folder / "contents.json", contents)
    return PixelCache(folder)


def labeller_of(architecture: str, px: int, images: int) -> Labeller:
    """A labeller of one network with random weights, which labels `images` images."""
    classifier, _ = build_classifier(architecture, CLASSES, px, ["none"], 0)
    classes = [str(number) for number in range(CLASSES)]
    ready = for_inference(classifier, torch.device("cpu"), (px, px))
    checkpoint = Checkpoint(ready, classes, Preprocessing(px), {"architecture": architecture})
    return Labeller([checkpoint], np.ones((1, images), dtype=bool), torch.device("cpu"))


def store_in(folder: Path, contents: list[str]) -> SoftLabelStore:
    header = {"teacher_digest": "none", "folds": 0, "view_version": 0}
    return SoftLabelStore.create(folder, contents=contents, classes=CLASSES, teacher="none", header=header)


def speed_row(architecture: str, px: int, images: int, rounds: int) -> dict[str, object]:
    """Images per second, in turns: views rendered, predicted and stored; the forward pass of rendered views alone."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        cache = write_cache(folder, images, round(px * 1.25))
        views = ViewSet.of(cache, VIEWS, 0, np.arange(images))
        labeller, store = labeller_of(architecture, px, images), store_in(folder / "store", cache.contents)
        batches = [
            network_input(views.render(np.arange(start, min(start + BATCH, images)), 0, px), torch.device("cpu"))
            for start in range(0, images, BATCH)
        ]
        network = labeller.checkpoints[0].classifier

        def make(view: int) -> None:
            store.write(view, labeller.all_probabilities(views, view))

        def bare() -> None:
            with torch.inference_mode():
                for batch in batches:
                    network(batch)

        made, forward = [], []
        bare()  # the first calls are slower
        for view in range(rounds):
            made.append(images / seconds(make, view))
            forward.append(images / seconds(bare))
    return {
        "architecture": architecture,
        "input_px": px,
        "images": images,
        "made_per_second": float(np.median(made)),
        "bare_per_second": float(np.median(forward)),
        **ratio_cells("to_bare", made, forward),
    }


def seconds(work: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def memory_rows(counts: tuple[int, ...]) -> Iterator[dict[str, object]]:
    """Yield the peak memory of a fresh process that labels one view of `images` small images, for each count."""
    for count in counts:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield {"images": count, "peak_mb": rounded("peak_mb", pool.submit(peak_mb, count).result())}


def peak_mb(images: int) -> float:
    """Peak of the process's own memory, 10⁶ bytes, without the memory-mapped cache: that can be dropped at any time."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        cache = write_cache(folder, images, MEMORY_PX)
        views = ViewSet.of(cache, VIEWS, 0, np.arange(images))
        labeller, store = labeller_of(MEMORY_NETWORK, MEMORY_PX, images), store_in(folder / "store", cache.contents)
        with watched_memory() as largest:
            store.write(0, labeller.all_probabilities(views, 0))
        return max(largest) / 1e6


@contextmanager
def watched_memory(every_s: float = 0.02) -> Iterator[list[float]]:
    """Measurements of this process's anonymous memory during the block, in bytes (Linux)."""
    measurements, stop = [own_memory()], threading.Event()

    def watch() -> None:
        while not stop.wait(every_s):
            measurements.append(own_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield measurements
    finally:
        stop.set()
        thread.join()
        measurements.append(own_memory())


def own_memory() -> float:
    values: Mapping[str, str] = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    )
    return float(values["RssAnon"].split()[0]) * 1024
