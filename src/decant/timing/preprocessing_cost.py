"""The cost of preprocessing inside the exported file, compared with Pillow and NumPy outside it.

Outside, a program prepares the image with Pillow and NumPy and runs the bare graph. The comparison is fair only if this
image is as exact as the file's. So several ways to prepare it are tried, and the fastest one whose image differs by at
most one grey level is compared. Both sides start from a photo that Pillow has decoded.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from decant.data.evaluation_transform import evaluation_transform
from decant.data.preprocessing import FILL, Preprocessing, size_text
from decant.errors import UserError
from decant.export.interface import IMAGES, PIXELS
from decant.export.runtime import OnnxClassifier
from decant.export.verification.comparison import distance
from decant.export.verification.pillow_reference import source_and_target
from decant.export.verification.verify import MAX_GREY_LEVELS, preprocessing_of

COST_COLUMNS = (
    "fit", "input_px",
    "height_px", "width_px", "threads", "calls", "full_ms", "bare_ms", "outside_ms", "apart_ms", "full_to_apart",
    "full_cpu_ms", "bare_cpu_ms", "outside_cpu_ms", "apart_cpu_ms", "cpu_full_to_apart",
    "outside", "outside_grey_levels",
)  # fmt: skip
SHARE = np.float32(1 / 255)
WEIGHTS_ERROR = 0.01  # grey levels: on bytes Pillow rounds twice, by half a level each, and its weights are rounded too

Prepare = Callable[[Image.Image, Preprocessing], np.ndarray]  # RGB photo -> float32 [1, 3, height, width] in [0, 1]


def cost_row(path: Path, image: np.ndarray, threads: int, calls: int) -> dict[str, object]:
    """Time the file and its bare graph with preprocessing outside, interleaved in this process.

    path: `student.onnx`, with `student_bare.onnx` in the same folder. image: uint8 [H, W, 3]. Keys are COST_COLUMNS;
    times are medians over `calls`. Raises UserError if a file is missing.
    """
    preprocessing = preprocessing_of(OnnxClassifier(path, threads=1), path)
    bare_path = path.with_name(f"{path.stem}_bare.onnx")
    if not bare_path.is_file():
        raise UserError(f"{bare_path} does not exist, but both graphs are needed; export the student again")
    full, bare = session_of(path, threads), session_of(bare_path, threads)
    name, error = cheapest(image, preprocessing)
    photo, prepare = Image.fromarray(image), OUTSIDE[name]
    prepared = prepare(photo, preprocessing)
    medians = in_turns(
        {
            "full": lambda: full.run(None, {IMAGES: np.asarray(photo)[None]}),
            "bare": lambda: bare.run(None, {PIXELS: prepared}),
            "outside": lambda: prepare(photo, preprocessing),
            "apart": lambda: bare.run(None, {PIXELS: prepare(photo, preprocessing)}),
        },
        calls,
    )
    return {
        "fit": preprocessing.fit,
        "input_px": size_text(preprocessing.input_px),
        "height_px": image.shape[0],
        "width_px": image.shape[1],
        "threads": threads,
        "calls": calls,
        **{f"{timed}_ms": wall for timed, (wall, _) in medians.items()},
        "full_to_apart": medians["full"][0] / medians["apart"][0],
        **{f"{timed}_cpu_ms": cpu for timed, (_, cpu) in medians.items()},
        "cpu_full_to_apart": medians["full"][1] / medians["apart"][1],
        "outside": name,
        "outside_grey_levels": error,
    }


def session_of(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open a session whose threads sleep between calls: two pools of spinning threads would slow each other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def cheapest(image: np.ndarray, preprocessing: Preprocessing, calls: int = 50) -> tuple[str, float]:
    """Return the fastest way in OUTSIDE that is exact for an image, and its largest error in grey levels.

    image: uint8 [H, W, 3]. Raises UserError if no way is exact.
    """
    expected, photo = evaluation_transform(image, preprocessing).numpy(), Image.fromarray(image)
    errors = {name: 255 * distance(way(photo, preprocessing)[0], expected) for name, way in OUTSIDE.items()}
    exact = {name: OUTSIDE[name] for name in errors if errors[name] <= MAX_GREY_LEVELS + WEIGHTS_ERROR}
    if not exact:
        raise UserError(
            "each way in OUTSIDE to prepare the image differs by more than one grey level; add an exact one"
        )
    medians = in_turns({name: partial(way, photo, preprocessing) for name, way in exact.items()}, calls)
    name = min(medians, key=lambda name: medians[name][1])
    return name, errors[name]


def in_turns(
    contenders: Mapping[str, Callable[[], object]], calls: int, warmup: int = 10
) -> dict[str, tuple[float, float]]:
    """Return the median times of each contender in ms: wall time, and CPU time of all threads of this process.

    Each round calls all contenders, every second round in reverse order, so that a drift affects all equally. CPU time
    depends less than wall time on the other programs of the machine.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(-warmup, calls):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            start, cpu = time.perf_counter(), time.process_time()
            contenders[name]()
            if number >= 0:
                times[name].append((time.perf_counter() - start, time.process_time() - cpu))
    medians = {name: 1000 * np.median(pairs, axis=0) for name, pairs in times.items()}
    return {name: (float(wall), float(cpu)) for name, (wall, cpu) in medians.items()}


def resized_whole(photo: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Resize the whole photo, then crop or pad it: uint8 [*shape, 3]."""
    shape = preprocessing.resized_shape(photo.height, photo.width)
    resized = np.asarray(photo.resize(shape[::-1], Image.Resampling.BILINEAR))
    rows, columns = (preprocessing.shown(*sides) for sides in zip(shape, preprocessing.shape, strict=True))
    top, left = (preprocessing.crop_start(*sides) for sides in zip(shape, preprocessing.shape, strict=True))
    above, before = (preprocessing.pad_start(*sides) for sides in zip(shape, preprocessing.shape, strict=True))
    return placed(resized[top : top + rows, left : left + columns], above, before, preprocessing)


def resized_box(photo: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Resize only the part of the photo that the input shows: uint8 [*shape, 3]."""
    box, (above, before, height, width) = source_and_target(photo.height, photo.width, preprocessing)
    resized = np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR, box=box))
    return placed(resized, above, before, preprocessing)


def placed(resized: np.ndarray, above: int, before: int, preprocessing: Preprocessing) -> np.ndarray:
    """The resized image at its place in the network's input, which is grey around it: uint8 [*shape, 3]."""
    if resized.shape[:2] == preprocessing.shape:
        return resized
    prepared = np.full((*preprocessing.shape, 3), FILL, np.uint8)
    prepared[above : above + resized.shape[0], before : before + resized.shape[1]] = resized
    return prepared


def turned_first(resized: np.ndarray) -> np.ndarray:
    """Transpose to CHW as bytes, then convert and scale: uint8 [H, W, 3] -> float32 [1, 3, H, W] in [0, 1]."""
    return np.ascontiguousarray(resized.transpose(2, 0, 1))[None].astype(np.float32) * SHARE


def scaled_first(resized: np.ndarray) -> np.ndarray:
    """Convert and scale in HWC order, then transpose to CHW: input and result as in `turned_first`."""
    return np.ascontiguousarray((resized.astype(np.float32) * SHARE).transpose(2, 0, 1))[None]


def in_one(resized: np.ndarray) -> np.ndarray:
    """Convert, scale and transpose in one pass: input and result as in `turned_first`."""
    prepared = np.empty((1, 3, *resized.shape[:2]), np.float32)
    np.multiply(resized.transpose(2, 0, 1), SHARE, out=prepared[0])
    return prepared


def both(
    resize: Callable[[Image.Image, Preprocessing], np.ndarray],
    convert: Callable[[np.ndarray], np.ndarray],
    photo: Image.Image,
    preprocessing: Preprocessing,
) -> np.ndarray:
    """Resize in uint8, then convert: float32 [1, 3, height, width]."""
    return convert(resize(photo, preprocessing))


OUTSIDE: Mapping[str, Prepare] = {
    f"{resize.__name__} {convert.__name__}": partial(both, resize, convert)
    for resize in (resized_box, resized_whole)
    for convert in (turned_first, scaled_first, in_one)
}
