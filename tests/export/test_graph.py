"""The preprocessing graph compared with the evaluation transform and with Pillow."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decant.data.evaluation_transform import evaluation_transform
from decant.data.preprocessing import FILL, Fit, InputPx, Preprocessing
from decant.export.graph import preprocessing_graph
from decant.export.interface import PREPARED
from decant.export.runtime import open_session, run
from decant.export.verification.pillow_reference import prepare

Prepare = Callable[[np.ndarray], np.ndarray]
THIN_AND_ODD = [
    (1, 1),
    (1, 300),
    (300, 1),
    (2, 3),
    (47, 48),
    (48, 48),
    (49, 48),
    (48, 49),
    (500, 7),
    (333, 500),
    (3, 2000),
]


def in_graph(preprocessing: Preprocessing) -> Prepare:
    session = open_session(preprocessing_graph(preprocessing).SerializeToString(), threads=1)
    return lambda images: run(session, {"images": images}, [PREPARED])[0]


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.array(Image.fromarray(noise(rng, 5, 5)).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(48),
        Preprocessing(48, 0.875),
        Preprocessing(161, 0.95),
        Preprocessing(23),
        Preprocessing((48, 88)),
        Preprocessing((33, 20), 0.9),
        Preprocessing(48, 1.0, "stretch"),
        Preprocessing((48, 88), 0.9, "stretch"),
        Preprocessing(48, 1.0, "pad"),
        Preprocessing((88, 40), 0.9, "pad"),
    ],
    ids=str,
)
def test_images_of_any_size_match_the_evaluation_transform_within_a_tenth_of_a_grey_level(
    preprocessing: Preprocessing, make: Callable[..., np.ndarray]
) -> None:
    rng = np.random.default_rng(0)
    prepare_in_graph = in_graph(preprocessing)
    sizes = THIN_AND_ODD + [(int(height), int(width)) for height, width in rng.integers(2, 400, (40, 2))]
    for height, width in sizes:
        image = make(rng, height, width)
        expected = evaluation_transform(image, preprocessing).numpy()
        worst = 255 * np.abs(prepare_in_graph(image[None])[0] - expected).max()
        assert worst < 0.1, f"{height} x {width}: off by {worst} grey levels"  # a tenth of the limit


def test_long_images_match_pillow_which_crops_before_it_resizes() -> None:
    rng = np.random.default_rng(1)
    prepare_in_graph = in_graph(Preprocessing(48, 0.9))
    for height, width in [*THIN_AND_ODD[2:], (37, 900), (400, 300)]:
        image = noise(rng, height, width)
        by_pillow = prepare(image, Preprocessing(48, 0.9))
        assert 255 * np.abs(prepare_in_graph(image[None])[0] - by_pillow).max() < 0.1, (height, width)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux alone keeps a process's peak memory there")
@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_the_memory_for_a_panorama_grows_with_its_pixels_alone(fit: Fit, tmp_path: Path) -> None:
    """4 megapixels; with as many taps for the rows as for the columns the graph took gigabytes."""
    (tmp_path / "graph.onnx").write_bytes(preprocessing_graph(Preprocessing(64, 1.0, fit)).SerializeToString())
    program = (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "session.run(None, {'images': numpy.zeros((1, 200, 20000, 3), numpy.uint8)})\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "graph.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 800_000  # KB


def test_an_image_of_one_colour_keeps_it_up_to_the_borders() -> None:
    image = np.full((1, 333, 217, 3), (10, 128, 250), np.uint8)
    expected = np.array([10, 128, 250], np.float32).reshape(3, 1, 1) / 255
    np.testing.assert_allclose(in_graph(Preprocessing(48))(image)[0], np.broadcast_to(expected, (3, 48, 48)), atol=1e-6)


def test_an_image_of_the_input_size_is_only_scaled() -> None:
    image = noise(np.random.default_rng(2), 48, 48)
    expected = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    np.testing.assert_allclose(in_graph(Preprocessing(48))(image[None])[0], expected, atol=1e-7)


def test_a_prepared_image_does_not_depend_on_its_batch() -> None:
    rng = np.random.default_rng(3)
    prepare_in_graph = in_graph(Preprocessing(48))
    batch = np.stack([noise(rng, 60, 91) for _ in range(5)])
    single = np.concatenate([prepare_in_graph(image[None]) for image in batch])
    np.testing.assert_array_equal(prepare_in_graph(batch), single)


def test_the_resized_shape_is_rounded_as_in_the_evaluation_transform() -> None:
    # 3 x 2 with the shorter side resized to 5: the longer side is 7.5. Halves are rounded up, not to even.
    assert Preprocessing(5).resized_shape(3, 2) == (8, 5)
    image = noise(np.random.default_rng(4), 3, 2)
    expected = evaluation_transform(image, Preprocessing(5)).numpy()
    np.testing.assert_allclose(in_graph(Preprocessing(5))(image[None])[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (37, 91)])
def test_padded_pixels_have_the_grey_level_of_the_fill(shape: tuple[int, int]) -> None:
    prepare_in_graph = in_graph(Preprocessing((40, 48), 1.0, "pad"))
    seen = prepare_in_graph(np.zeros((2, *shape, 3), np.uint8))
    by_hand = evaluation_transform(np.zeros((*shape, 3), np.uint8), Preprocessing((40, 48), 1.0, "pad")).numpy()
    assert set(np.unique(by_hand)) == {0, np.float32(FILL / 255)}
    np.testing.assert_allclose(seen, np.stack([by_hand] * 2), atol=1e-6)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("input_px", [48, (48, 88)])
def test_every_constant_and_every_node_of_the_graph_is_read(fit: Fit, input_px: InputPx) -> None:
    graph = preprocessing_graph(Preprocessing(input_px, 0.9, fit)).graph
    read = {name for node in graph.node for name in node.input} | {PREPARED}
    assert {constant.name for constant in graph.initializer} <= read
    assert all(set(node.output) & read for node in graph.node)


def test_a_crop_larger_than_the_resized_image_is_refused() -> None:
    with pytest.raises(ValueError, match="must fit into the resized 32 px"):
        preprocessing_graph(Preprocessing(48, crop_ratio=1.5))
