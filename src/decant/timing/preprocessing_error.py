"""The difference between the file's own preprocessing and the evaluation transform, on images of many shapes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from decant.data.evaluation_transform import evaluation_transform
from decant.data.preprocessing import Preprocessing, size_text
from decant.export.interface import IMAGES, PREPARED
from decant.export.runtime import OnnxClassifier, open_session, run
from decant.export.verification.tap import tapped
from decant.export.verification.verify import preprocessing_of
from decant.timing.random_student import drawn_photo
from decant.tracking import progress

PREPROCESSING_ERROR_COLUMNS = (
    "fit",
    "input_px",
    "pixels",
    "shape",
    "images",
    "border_grey_levels",
    "inner_grey_levels",
    "mean_grey_levels",
)

Draw = np.random.Generator
Shape = tuple[int, int]  # height, width


def preprocessing_error_rows(path: Path, images: int, seed: int = 0) -> list[dict[str, object]]:
    """Return one row per kind of pixels and of shape; each row compares `images` / rows images, rounded up.

    path: an exported `student.onnx`. Keys are PREPROCESSING_ERROR_COLUMNS; grey levels range from 0 to 255.
    """
    tap = open_session(tapped(path.read_bytes()), threads=1)
    preprocessing = preprocessing_of(OnnxClassifier(path, threads=1), path)
    kinds = [(pixels, shape) for pixels in PIXELS_OF for shape in SHAPES]
    images_per_row = -(-images // len(kinds))
    return [
        {"fit": preprocessing.fit, "input_px": size_text(preprocessing.input_px)}
        | {"pixels": pixels, "shape": shape, "images": images_per_row}
        | differences(tap, preprocessing, drawn_images(pixels, shape, max(preprocessing.shape), images_per_row, seed))
        for pixels, shape in progress(kinds, "preparing", len(kinds), "kinds")
    ]


def differences(
    tap: onnxruntime.InferenceSession, preprocessing: Preprocessing, images: Iterator[np.ndarray]
) -> dict[str, float]:
    """Return three differences in grey levels: the largest at the border, the largest elsewhere, and the mean.

    tap: a session with the input `images` and the output `prepared`. The border is the outermost rows and columns.
    """
    border, inner, means = 0.0, 0.0, []
    for image in images:
        prepared = run(tap, {IMAGES: image[None]}, [PREPARED])[0][0]
        error = 255 * np.abs(prepared - evaluation_transform(image, preprocessing).numpy())
        inner = max(inner, float(error[:, 1:-1, 1:-1].max(initial=0)))
        means.append(float(error.mean()))
        error[:, 1:-1, 1:-1] = 0
        border = max(border, float(error.max()))
    return {"border_grey_levels": border, "inner_grey_levels": inner, "mean_grey_levels": float(np.mean(means))}


def drawn_images(pixels: str, shape: str, input_px: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield `count` images, uint8 [H, W, 3]; the same arguments give the same images."""
    draw = np.random.default_rng([seed, list(PIXELS_OF).index(pixels), list(SHAPES).index(shape)])
    for _ in range(count):
        yield PIXELS_OF[pixels](draw, *SHAPES[shape](draw, input_px))


def noise(draw: Draw, height: int, width: int) -> np.ndarray:
    """Uniform noise, uint8 [height, width, 3]: neighbours differ, so that every wrong weight of the resize shows."""
    return draw.integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(draw: Draw, height: int, width: int) -> np.ndarray:
    """A drawn vehicle, resized: uint8 [height, width, 3]."""
    drawn = Image.fromarray(drawn_photo(96, 128, seed=int(draw.integers(20))))
    return np.array(drawn.resize((width, height), Image.Resampling.BICUBIC))


def tiny(draw: Draw, input_px: int) -> Shape:
    return int(draw.integers(1, 9)), int(draw.integers(1, 9))


def wide(draw: Draw, input_px: int) -> Shape:
    height = int(draw.integers(1, 60))
    return height, height * int(draw.integers(4, 20)) + int(draw.integers(7))


def tall(draw: Draw, input_px: int) -> Shape:
    height, width = wide(draw, input_px)
    return width, height


def as_input(draw: Draw, input_px: int) -> Shape:
    """One or both sides within a pixel of the network's input."""
    near = input_px + int(draw.integers(-1, 2))
    other = near if draw.random() < 0.3 else int(draw.integers(input_px // 2, 3 * input_px))
    return (near, other) if draw.random() < 0.5 else (other, near)


def odd(draw: Draw, input_px: int) -> Shape:
    """Both sides are odd numbers, smaller or larger than the input."""
    return 2 * int(draw.integers(10, 300)) + 1, 2 * int(draw.integers(10, 300)) + 1


PIXELS_OF: Mapping[str, Callable[[Draw, int, int], np.ndarray]] = {"noise": noise, "photo": photo}
SHAPES: Mapping[str, Callable[[Draw, int], Shape]] = {
    "tiny": tiny, "wide": wide, "tall": tall, "as_input": as_input, "odd": odd,
}  # fmt: skip
