"""Two exported students for tests: a tiny one with faults to plant in its file, and one fitted to toy vehicles."""

import csv
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import helper, numpy_helper
from PIL import Image

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import decode
from decant.data.preprocessing import Preprocessing
from decant.export.graph import Nodes
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.models.backbones import build_classifier, embed, head_of
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier
from decant.models.probe import LinearProbe
from toy_vehicles import CLASSES as VEHICLES
from toy_vehicles import generate

Images = list[tuple[str, np.ndarray]]  # id, uint8 [H, W, 3]
Change = Callable[[onnx.ModelProto], None]
Edit = Callable[[Path, Change], None]
Planted = dict[str, Change]
CLASSES = ["van", "bus", "Straßenbahn", "tow truck", "拖拉机"]
BROKEN = ("truncated", "corrupt", "non_image")
Vehicles = list[tuple[np.ndarray, int]]  # uint8 [H, W, 3], class number


def with_batch_statistics(classifier: Classifier, input_px: int) -> Classifier:
    """Measure the batch statistics of random weights, so that the logits differ between images."""
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        classifier.train()(torch.rand(32, 3, input_px, input_px, generator=torch.Generator().manual_seed(1)))
    return classifier.eval()


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Checkpoint]:
    def make(
        architecture: str = "test_efficientnet",
        input_px: int = 64,
        crop_ratio: float = 0.9,
        **arguments: object,
    ) -> Checkpoint:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            backbone = timm.create_model(architecture, num_classes=len(CLASSES), **arguments)
            classifier = Classifier(backbone, (0.6, 0.45, 0.3), (0.2, 0.25, 0.3))
            with_batch_statistics(classifier, input_px)
        return Checkpoint(classifier, list(CLASSES), Preprocessing(input_px, crop_ratio), {})

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="session")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_student(checkpoint, folder, temperature=1.7, metadata={"study": "toys"})
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "student"))


@pytest.fixture(scope="session")
def edit() -> Edit:
    """Apply a change to an ONNX file."""

    def edit(path: Path, change: Change) -> None:
        model = onnx.load(path)
        change(model)
        path.write_bytes(model.SerializeToString())

    return edit


@pytest.fixture(scope="session")
def images() -> Images:
    """Noise and smooth images with ids, in odd sizes, eight of them of one size."""
    rng = np.random.default_rng(7)
    shapes = [(60, 90)] * 8 + [
        (64, 64),
        (71, 71),
        (31, 45),
        (203, 121),
        (1, 40),
        (90, 2),
        (128, 300),
        (65, 64),
    ]
    drawn = []
    for number, (height, width) in enumerate(shapes):
        if number % 2:
            image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        else:
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            image = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
        drawn.append((f"image {number}", image))
    return drawn


def of_operator(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    """The first node of an operator."""
    return next(node for node in model.graph.node if node.op_type == operator)


def insert_before(model: onnx.ModelProto, reader: onnx.NodeProto, name: str, new: list[onnx.NodeProto]) -> None:
    """Insert nodes before `reader`, which then reads the last new node's output instead of `name`."""
    position = list(model.graph.node).index(reader)
    reader.input[list(reader.input).index(name)] = new[-1].output[0]
    for node in reversed(new):
        model.graph.node.insert(position, node)


def swap_channels(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    reader = next(node for node in model.graph.node if node.op_type == "Slice" and "images" in node.input)
    insert_before(model, reader, "images", [helper.make_node("Gather", ["images", "bgr"], ["swapped"], axis=3)])


def resize_instead(model: onnx.ModelProto, **attributes: object) -> None:
    """Compute `prepared` with ONNX's own Resize: correctly without `attributes`, with a fault by them."""
    steps = json.loads(next(entry.value for entry in model.metadata_props if entry.key == "preprocessing"))
    nodes = Nodes("planted/")
    sides = nodes("Shape", "images", start=1, end=3)
    short = nodes("ReduceMin", sides)
    longer = nodes("Mul", sides, nodes.constant(steps["resize_px"]))
    resized = nodes("Div", nodes("Add", longer, nodes("Div", short, nodes.constant(2))), short)
    shape = nodes("Concat", nodes("Shape", "images", start=0, end=1), resized, nodes.constant([3]), axis=0)
    correct = {"mode": "linear", "antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": "half_pixel"}
    image = nodes("Resize", nodes("Cast", "images", to=onnx.TensorProto.FLOAT), "", "", shape, **(correct | attributes))
    start = nodes("Div", nodes("Sub", resized, nodes.constant(steps["input_px"])), nodes.constant(2))
    end = nodes("Add", start, nodes.constant(steps["input_px"]))
    chw = nodes("Transpose", nodes("Slice", image, start, end, nodes.constant([1, 2])), perm=[0, 3, 1, 2])
    scaled = nodes("Div", chw, nodes.constant(255, np.float32))
    nodes("Clip", scaled, nodes.constant(0, np.float32), nodes.constant(1, np.float32), output="prepared")
    replaced = next(node for node in model.graph.node if "prepared" in node.output)
    replaced.output[:] = ["replaced"]
    position = list(model.graph.node).index(replaced) + 1
    for number, node in enumerate(nodes.nodes):
        model.graph.node.insert(position + number, node)
    model.graph.initializer.extend(nodes.constants)


def forget_antialiasing(model: onnx.ModelProto) -> None:
    resize_instead(model, antialias=0, exclude_outside=0)  # exclude_outside is allowed with antialias only


def interpolate_cubically(model: onnx.ModelProto) -> None:
    resize_instead(model, mode="cubic")


def align_corners(model: onnx.ModelProto) -> None:
    resize_instead(model, coordinate_transformation_mode="align_corners")


def interpolate_nearest(model: onnx.ModelProto) -> None:
    resize_instead(model, mode="nearest", antialias=0, exclude_outside=0)


def count_outside(model: onnx.ModelProto) -> None:
    resize_instead(model, exclude_outside=0)


def repeat_last_pixel(model: onnx.ModelProto) -> None:
    """Positions beyond the last row and column get a weight."""
    where = of_operator(model, "Where")
    where.input[2] = where.input[1]


def permute_logits(model: onnx.ModelProto) -> None:
    head = of_operator(model, "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name in head.input:
            tensor.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(tensor), 1, axis=0), tensor.name))


def permute_names(model: onnx.ModelProto) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == "classes")
    entry.value = json.dumps(sorted(json.loads(entry.value)))


def drop_temperature(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "answer/temperature")
    tensor.CopyFrom(numpy_helper.from_array(np.array(1, np.float32), tensor.name))


def mix_batch(model: onnx.ModelProto) -> None:
    """Replace each image by the mean of its batch; at batch size 1 nothing changes."""
    reader = next(node for node in model.graph.node if "prepared" in node.input)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch axis"))
    mean = helper.make_node("ReduceMean", ["prepared", "batch axis"], ["mean"], keepdims=1)
    zeros = helper.make_node("Sub", ["prepared", "prepared"], ["zeros"])
    insert_before(model, reader, "prepared", [zeros, mean, helper.make_node("Add", ["zeros", "mean"], ["mixed"])])


def freeze_batch(model: onnx.ModelProto) -> None:
    """Fix the batch size to 1, so that larger batches fail."""
    reader = next(node for node in model.graph.node if "prepared" in node.input)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 64, 64]), "shape of one image"))
    insert_before(
        model, reader, "prepared", [helper.make_node("Reshape", ["prepared", "shape of one image"], ["frozen"])]
    )


def use_custom_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    reader = of_operator(model, "Softmax")
    node = helper.make_node("Gelu", [reader.input[0]], ["custom"], domain="com.microsoft")
    insert_before(model, reader, reader.input[0], [node])


def insert_nan(model: onnx.ModelProto) -> None:
    head = of_operator(model, "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name == head.input[2]:
            tensor.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float32), tensor.name))


FAULTS: tuple[Change, ...] = (
    swap_channels,
    forget_antialiasing,
    interpolate_cubically,
    interpolate_nearest,
    align_corners,
    count_outside,
    repeat_last_pixel,
    resize_instead,
    permute_logits,
    permute_names,
    drop_temperature,
    mix_batch,
    freeze_batch,
    use_custom_operator,
    insert_nan,
)


@pytest.fixture(scope="session")
def planted() -> Planted:
    """Faults to plant in a file, by name."""
    return {change.__name__: change for change in FAULTS}


@pytest.fixture(scope="session")
def vehicles(tmp_path_factory: pytest.TempPathFactory) -> Vehicles:
    """200 toy vehicles in odd sizes, with their classes."""
    folder = tmp_path_factory.mktemp("toys") / "toys"
    generate(folder, images=240, size_px=48, seed=3)
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["true_label"] and row["fault"] not in BROKEN]
    rng = np.random.default_rng(5)
    labelled = []
    for row in rows[:200]:
        drawn = Image.fromarray(decode((folder / row["path"]).read_bytes()))
        width, height = (int(side) for side in rng.integers(37, 224, 2))
        image = np.array(drawn.resize((width, height), Image.Resampling.BICUBIC))
        labelled.append((image, VEHICLES.index(row["true_label"])))
    return labelled


@pytest.fixture(scope="session")
def fitted(vehicles: Vehicles) -> Checkpoint:
    """A student with high accuracy on the vehicles: ImageNet weights and a head fitted to these images."""
    architecture, preprocessing = "tf_efficientnet_lite0", Preprocessing(64, 0.875)
    classifier, _ = build_classifier(architecture, len(VEHICLES), 64, ["wheel"], seed=0)
    classifier.mean.copy_(torch.tensor((0.6, 0.45, 0.3)))  # lite0's own values are equal in all channels
    classifier.std.copy_(torch.tensor((0.2, 0.25, 0.3)))
    classifier.eval()
    with torch.inference_mode():
        prepared = [evaluation_transform(image, preprocessing)[None] for image, _ in vehicles]
        features = torch.cat([embed(classifier, batch) for batch in prepared]).numpy()
    probe = LinearProbe(len(VEHICLES), strength=0.01).fit(features, np.array([label for _, label in vehicles]))
    probe.write_into(head_of(classifier))
    return Checkpoint(classifier, list(VEHICLES), preprocessing, {"architecture": architecture})


@pytest.fixture(scope="session")
def fitted_file(fitted: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`student.onnx` of the fitted student, in a folder with the other exported files."""
    folder = tmp_path_factory.mktemp("fitted")
    export_student(fitted, folder, temperature=1.7)
    return folder / "student.onnx"


@pytest.fixture(scope="session")
def expected(fitted_file: Path, vehicles: Vehicles) -> np.ndarray:
    """The fitted file's probabilities for the vehicles, [200, 10]; more than 90 % of its classes are right."""
    classifier = OnnxClassifier(fitted_file, threads=1)
    probabilities = np.stack([classifier.predict(image)[0] for image, _ in vehicles])
    right = probabilities.argmax(axis=1) == [label for _, label in vehicles]
    assert len(vehicles) == 200 and right.mean() > 0.9 and len(set(probabilities.argmax(axis=1))) == len(VEHICLES)
    return probabilities


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with transformers.js, onnxruntime-node and sharp (0.5 GB), deleted after the tests."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    # It depends on onnxruntime-node and sharp. The ignored scripts would download GPU libraries.
    words = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run([*words, "@huggingface/transformers@4"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install transformers.js: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def failed_gates(report: dict) -> set[str]:
    """The gates that failed in a report of `verify`. Also checks that JSON can represent it, and its key `passed`."""
    json.dumps(report, allow_nan=False)
    failed = {name for name, gate in report["gates"].items() if gate["passed"] is False}
    assert report["passed"] is (not failed)
    return failed
