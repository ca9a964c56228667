"""Changed copies of a photo are found; images that only look similar are not."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageOps

from decant.cleaning.alignment import aligned_correlation
from decant.cleaning.near_duplicates import copy_threshold, find_near_duplicates

PHOTOS = 40


def painted(seed: int) -> Image.Image:
    """Draw a unique scene: 25 random shapes over a colour gradient; 160 x 120 pixels."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(40, 216, (2, 3))
    ramp = np.linspace(ends[0], ends[1], 120)[:, None, :].repeat(160, axis=1)
    image = Image.fromarray(ramp.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y = rng.uniform(-20, 160), rng.uniform(-20, 120)
        box = (x, y, x + rng.uniform(6, 60), y + rng.uniform(6, 50))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(box, fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
    return image


def same_street(seed: int) -> Image.Image:
    """Draw a car with random colour, windows and dirt, always at the same position in front of the same wall."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (160, 120), (150, 160, 170))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 85, 160, 120), fill=(70, 70, 70))
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    draw.rectangle((20, 55, 140, 90), fill=colour)
    draw.rectangle((45, 35, 115, 55), fill=colour)
    for x in (40, 110):
        draw.ellipse((x, 80, x + 20, 100), fill=(20, 20, 20))
    for _ in range(12):
        x, y = rng.uniform(20, 130), rng.uniform(36, 82)
        fill = tuple(int(value) for value in rng.integers(0, 256, 3))
        draw.rectangle((x, y, x + rng.uniform(4, 18), y + rng.uniform(4, 14)), fill=fill)
    return image


def cropped(image: Image.Image, share: float, x: float = 0.5, y: float = 0.5) -> Image.Image:
    """Crop to this share of each side; x and y (0 to 1) are the position of the crop, from left and top."""
    width, height = (round(side * share) for side in image.size)
    left, top = round((image.width - width) * x), round((image.height - height) * y)
    return image.crop((left, top, left + width, top + height))


def reencoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda image: image.resize((70, 50), Image.Resampling.BICUBIC),
    "reencoded": lambda image: reencoded(image, 20),
    "cropped to 90 % in the middle": lambda image: cropped(image, 0.9),
    "cropped to 80 % at a corner": lambda image: cropped(image, 0.8, 1.0, 0.0),
    "mirrored": ImageOps.mirror,
    "mirrored, cropped, reencoded": lambda image: reencoded(ImageOps.mirror(cropped(image, 0.85, 0, 1)), 60),
    "brightened": lambda image: image.point([round(30 + 0.8 * value) for value in range(256)] * 3),
}


def thumbnails_of(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BOX)) for image in images])


def found_pairs(pairs: pd.DataFrame) -> set[tuple[int, int]]:
    return set(zip(pairs["i"].tolist(), pairs["j"].tolist(), strict=True))


def features_like_a_network(copies_of: np.ndarray, seed: int) -> np.ndarray:
    """Return feature vectors [n, 48]: similar for copies of one photo, random otherwise."""
    rng = np.random.default_rng(seed)
    photos = rng.normal(size=(copies_of.max() + 1, 48))
    return (photos[copies_of] + 0.4 * rng.normal(size=(len(copies_of), 48))).astype(np.float32)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [painted(seed) for seed in range(PHOTOS)]


@pytest.mark.parametrize("with_features", [False, True])
@pytest.mark.parametrize("kind", COPIES)
def test_finds_every_copy_and_nothing_else(photos: list[Image.Image], kind: str, with_features: bool) -> None:
    thumbnails = thumbnails_of(photos + [COPIES[kind](photo) for photo in photos])
    features = mirrored = None
    if with_features:
        features = features_like_a_network(np.arange(2 * PHOTOS) % PHOTOS, seed=1)
        mirrored = features_like_a_network(np.arange(2 * PHOTOS) % PHOTOS, seed=1)

    pairs = find_near_duplicates(thumbnails, features, mirrored)

    expected = {(number, number + PHOTOS) for number in range(PHOTOS)}
    assert len(found_pairs(pairs) & expected) >= 0.95 * PHOTOS
    assert not found_pairs(pairs) - expected


@pytest.mark.parametrize("mirrored", [False, True])
def test_returns_whether_a_copy_is_mirrored(photos: list[Image.Image], mirrored: bool) -> None:
    copies = [ImageOps.mirror(photo) if mirrored else photo for photo in photos[:5]]
    pairs = find_near_duplicates(thumbnails_of(photos[:5] + [reencoded(copy, 40) for copy in copies]))
    assert len(pairs) == 5
    assert (pairs["mirrored"] == mirrored).all()


def test_images_from_one_camera_of_different_cars_are_not_copies() -> None:
    pairs = find_near_duplicates(thumbnails_of([same_street(seed) for seed in range(150)]))
    assert len(pairs) <= 1


def test_equal_features_alone_are_not_enough_for_a_pair(photos: list[Image.Image]) -> None:
    features = np.ones((PHOTOS, 16), np.float32) + np.arange(PHOTOS, dtype=np.float32)[:, None] * 1e-6
    assert find_near_duplicates(thumbnails_of(photos), features).empty


def test_images_without_contrast_are_never_copies_of_each_other() -> None:
    flat = np.full((12, 32, 32, 3), 200, np.uint8)
    flat[6:] += np.random.default_rng(0).integers(0, 3, flat[6:].shape, dtype=np.uint8)
    assert find_near_duplicates(flat).empty


def test_many_exact_copies_do_not_hide_other_neighbours(photos: list[Image.Image]) -> None:
    thumbnails = thumbnails_of([photos[0]] * 30 + [photos[1], reencoded(photos[0], 30)])
    pairs = find_near_duplicates(thumbnails)
    assert {(0, number) for number in range(1, 30)} | {(0, 31)} == found_pairs(pairs)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_give_an_empty_table(photos: list[Image.Image], count: int) -> None:
    pairs = find_near_duplicates(np.zeros((count, 32, 32, 3), np.uint8), np.zeros((count, 4), np.float32))
    assert pairs.empty
    assert list(pairs.columns) == ["i", "j", "score", "mirrored"]


def test_result_does_not_depend_on_the_order_of_the_images(photos: list[Image.Image]) -> None:
    thumbnails = thumbnails_of(photos + [COPIES["cropped to 80 % at a corner"](photo) for photo in photos[:20]])
    order = np.random.default_rng(3).permutation(len(thumbnails))
    shuffled = found_pairs(find_near_duplicates(thumbnails[order]))
    back = {(int(min(order[i], order[j])), int(max(order[i], order[j]))) for i, j in shuffled}
    assert back == found_pairs(find_near_duplicates(thumbnails))


def test_wrong_shapes_are_refused() -> None:
    thumbnails = np.zeros((4, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="32, 32, 3"):
        find_near_duplicates(thumbnails[:, :16])
    with pytest.raises(ValueError, match="uint8"):
        find_near_duplicates(thumbnails.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="features must be"):
        find_near_duplicates(thumbnails, np.zeros((3, 8), np.float32))
    with pytest.raises(ValueError, match="features_mirrored without features"):
        find_near_duplicates(thumbnails, None, np.zeros((4, 8), np.float32))


def test_correlation_ignores_brightness_contrast_and_the_order_of_a_pair(photos: list[Image.Image]) -> None:
    thumbnails = thumbnails_of([photos[0], COPIES["brightened"](photos[0]), cropped(photos[0], 0.8, 0, 0)])
    fit = aligned_correlation(thumbnails, np.array([[0, 1], [0, 2], [2, 0]]))
    assert fit.correlation[0] > 0.999
    assert fit.detail[0] > 0.999
    np.testing.assert_allclose(fit.detail[1], fit.detail[2], atol=0.05)
    assert fit.detail[1] > 0.85


def test_look_alikes_raise_the_threshold_and_copies_lower_it() -> None:
    """A tail that halves every 0.1 predicts high * 0.5 / 0.5 look-alikes above 0.80, here 100, and 50 above 0.90."""
    tail = np.concatenate([np.full(400, 0.55), np.full(200, 0.65), np.full(100, 0.75)])
    assert copy_threshold(np.concatenate([tail, np.full(90, 0.85), np.full(10, 0.95)])) == pytest.approx(0.90)
    assert copy_threshold(np.concatenate([tail, np.full(450, 0.95)])) == pytest.approx(0.80)
    assert 0.80 < copy_threshold(np.concatenate([tail, np.full(300, 0.95)])) < 0.90
    few = np.concatenate([np.full(7, 0.55), np.full(7, 0.75), np.full(80, 0.85), np.full(400, 0.95)])
    assert copy_threshold(few) == pytest.approx(0.80)
    assert copy_threshold(np.zeros(0)) == pytest.approx(0.80)


@pytest.mark.data
def test_finds_the_known_near_duplicates_of_cifar10(real_data: Path) -> None:
    """Barz & Denzler 2020, judgment 1. They paired each test image only with its nearest train image."""
    known = pd.read_csv(real_data / "cifar10/duplicates_test_train.csv").query("Judgment == 1")
    images = [
        Image.open(io.BytesIO(row["bytes"])).convert("RGB")
        for split, column in (("test", "TestID"), ("train", "TrainID"))
        for row in pd.read_parquet(real_data / f"cifar10/{split}.parquet", columns=["index", "image"])
        .set_index("index")
        .loc[known[column], "image"]
    ]
    pairs = found_pairs(find_near_duplicates(thumbnails_of(images)))
    hits = [(number, number + len(known)) in pairs for number in range(len(known))]
    assert np.mean(hits) >= 0.9
