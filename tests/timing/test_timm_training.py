"""timm's loop trains on the files with timm's own parts, and its flags do what they say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.layers import FrozenBatchNormAct2d
from torch import nn

from decant.study import Teacher, Views
from decant.timing.timm_training import Flags, TimmTraining, alternatives

# timm leaves it to Python to close the files that it has read.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
VIEWS = Views(scale=(0.6, 1.0), ratio=(0.85, 1.18), flip=0.5, erase=0.25, brightness=0.3, contrast=0.3, saturation=0.3)
SETTINGS = Teacher(architecture="test_efficientnet", input_px=32, batch_size=4, learning_rate=0.01, views=VIEWS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of noise in three classes, and one in val."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(13):
        path = folder / ("val" if number == 12 else "train") / f"class{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return folder


def test_an_epoch_trains_the_network_and_its_average_on_all_train_images(photos: Path) -> None:
    training = TimmTraining(photos, SETTINGS, Flags(workers=0))
    before = [parameter.detach().clone() for parameter in training.network.parameters()]
    assert training.epoch() > 0
    assert training.updates == 3  # of four images each
    changed = [not torch.equal(*pair) for pair in zip(before, training.network.parameters(), strict=True)]
    assert all(changed)
    averages = training.average.module.parameters()
    assert all(not torch.equal(*pair) for pair in zip(averages, training.network.parameters(), strict=True))


def test_a_turn_may_end_after_some_steps(photos: Path) -> None:
    training = TimmTraining(photos, SETTINGS, Flags(workers=0))
    training.epoch(steps=2)
    assert training.updates == 2


@pytest.mark.parametrize("prefetcher", [True, False])
def test_the_loader_augments_as_the_views_do(photos: Path, prefetcher: bool) -> None:
    loader = TimmTraining(photos, SETTINGS, Flags(workers=0, prefetcher=prefetcher)).loader
    crop, flip, colour, *rest = loader.dataset.transform.transforms
    assert (crop.scale, crop.ratio, flip.p) == ((0.6, 1.0), (0.85, 1.18), 0.5)
    assert (colour.brightness, colour.contrast, colour.saturation) == ((0.7, 1.3),) * 3
    erasing = loader.random_erasing if prefetcher else rest[-1]
    assert erasing.probability == 0.25
    images, targets = next(iter(loader))
    assert images.shape == (4, 3, 32, 32) and images.dtype == torch.float32 and targets.max() < 3


def test_flags_change_the_layout_the_norms_and_the_optimiser(photos: Path) -> None:
    fast = TimmTraining(photos, SETTINGS.model_copy(update={"freeze_norm": True}), Flags(workers=0, fused=True))
    plain = TimmTraining(photos, SETTINGS, Flags(workers=0, channels_last=False))
    layouts = [
        next(module for module in training.network.modules() if isinstance(module, nn.Conv2d)).weight
        for training in (fast, plain)
    ]
    assert [weight.is_contiguous(memory_format=torch.channels_last) for weight in layouts] == [True, False]
    frozen = [
        any(isinstance(m, FrozenBatchNormAct2d) for m in training.network.modules()) for training in (fast, plain)
    ]
    assert frozen == [True, False]
    assert [bool(training.optimizer.defaults["fused"]) for training in (fast, plain)] == [True, False]


def test_bf16_and_compilation_are_tried_only_where_they_may_work() -> None:
    every = [change for changes in alternatives(True, True) for change in changes]
    few = [change for changes in alternatives(False, False) for change in changes]
    assert [change for change in every if change not in few] == [{"bf16": True}, {"compiled": True}]
    assert Flags(workers=2, fused=True).text() == "workers 2, channels last, prefetcher, fused"
