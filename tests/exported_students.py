"""One tiny student, exported once, and the means to break its file; and one that knows its vehicles."""

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

Change = Callable[[onnx.ModelProto], None]
CLASSES = ["van", "bus", "Straßenbahn", "tow truck", "拖拉机"]
BROKEN = ("truncated", "corrupt", "non_image")
Vehicles = list[tuple[np.ndarray, int]]  # uint8 [H, W, 3], class


def lively(classifier: Classifier, input_px: int) -> Classifier:
    """Random weights whose batch statistics were measured, so that the logits differ from picture to picture."""
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
            lively(classifier, input_px)
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
    """A copy of the exported folder, to be broken."""
    return Path(shutil.copytree(exported, tmp_path / "student"))


@pytest.fixture(scope="session")
def edit() -> Callable[[Path, Callable[[onnx.ModelProto], None]], None]:
    def edit(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
        model = onnx.load(path)
        change(model)
        path.write_bytes(model.SerializeToString())

    return edit


@pytest.fixture(scope="session")
def pictures() -> list[tuple[str, np.ndarray]]:
    """Noise and smooth pictures in odd sizes, eight of them in one size."""
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
    found = []
    for number, (height, width) in enumerate(shapes):
        if number % 2:
            picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        else:
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            picture = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
        found.append((f"picture {number}", picture))
    return found


def of_operator(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


def insert_before(model: onnx.ModelProto, reader: onnx.NodeProto, name: str, new: list[onnx.NodeProto]) -> None:
    """Let `reader` read the last new node's output instead of `name`."""
    at = list(model.graph.node).index(reader)
    reader.input[list(reader.input).index(name)] = new[-1].output[0]
    for node in reversed(new):
        model.graph.node.insert(at, node)


def swap_channels(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    reader = next(node for node in model.graph.node if node.op_type == "Slice" and "images" in node.input)
    insert_before(model, reader, "images", [helper.make_node("Gather", ["images", "bgr"], ["swapped"], axis=3)])


def resize_instead(model: onnx.ModelProto, **attributes: object) -> None:
    """Let ONNX's own Resize make `prepared`: rightly as it stands, and by `attributes` in some wrong way."""
    steps = json.loads(next(one.value for one in model.metadata_props if one.key == "preprocessing"))
    nodes = Nodes("planted/")
    sides = nodes("Shape", "images", start=1, end=3)
    short = nodes("ReduceMin", sides)
    longer = nodes("Mul", sides, nodes.constant(steps["resize_px"]))
    resized = nodes("Div", nodes("Add", longer, nodes("Div", short, nodes.constant(2))), short)
    shape = nodes("Concat", nodes("Shape", "images", start=0, end=1), resized, nodes.constant([3]), axis=0)
    right = {"mode": "linear", "antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": "half_pixel"}
    image = nodes("Resize", nodes("Cast", "images", to=onnx.TensorProto.FLOAT), "", "", shape, **(right | attributes))
    start = nodes("Div", nodes("Sub", resized, nodes.constant(steps["input_px"])), nodes.constant(2))
    end = nodes("Add", start, nodes.constant(steps["input_px"]))
    chw = nodes("Transpose", nodes("Slice", image, start, end, nodes.constant([1, 2])), perm=[0, 3, 1, 2])
    scaled = nodes("Div", chw, nodes.constant(255, np.float32))
    nodes("Clip", scaled, nodes.constant(0, np.float32), nodes.constant(1, np.float32), output="prepared")
    replaced = next(node for node in model.graph.node if "prepared" in node.output)
    replaced.output[:] = ["replaced"]
    at = list(model.graph.node).index(replaced) + 1
    for number, node in enumerate(nodes.nodes):
        model.graph.node.insert(at + number, node)
    model.graph.initializer.extend(nodes.constants)


def forget_antialiasing(model: onnx.ModelProto) -> None:
    resize_instead(model, antialias=0, exclude_outside=0)  # the latter is for antialiasing alone


def interpolate_cubically(model: onnx.ModelProto) -> None:
    resize_instead(model, mode="cubic")


def align_corners(model: onnx.ModelProto) -> None:
    resize_instead(model, coordinate_transformation_mode="align_corners")


def interpolate_nearest(model: onnx.ModelProto) -> None:
    resize_instead(model, mode="nearest", antialias=0, exclude_outside=0)


def count_outside(model: onnx.ModelProto) -> None:
    resize_instead(model, exclude_outside=0)


def repeat_last_pixel(model: onnx.ModelProto) -> None:
    """What lies beyond the last row and column is no longer kept out of the sums."""
    where = of_operator(model, "Where")
    where.input[2] = where.input[1]


def permute_answers(model: onnx.ModelProto) -> None:
    head = of_operator(model, "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name in head.input:
            tensor.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(tensor), 1, axis=0), tensor.name))


def permute_names(model: onnx.ModelProto) -> None:
    entry = next(one for one in model.metadata_props if one.key == "classes")
    entry.value = json.dumps(sorted(json.loads(entry.value)))


def cool_down(model: onnx.ModelProto) -> None:
    tensor = next(one for one in model.graph.initializer if one.name == "answer/temperature")
    tensor.CopyFrom(numpy_helper.from_array(np.array(1, np.float32), tensor.name))


def mix_batch(model: onnx.ModelProto) -> None:
    """Each picture becomes the mean of its batch: at batch 1 nothing can be seen of it."""
    reader = next(node for node in model.graph.node if "prepared" in node.input)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch axis"))
    mean = helper.make_node("ReduceMean", ["prepared", "batch axis"], ["mean"], keepdims=1)
    nothing = helper.make_node("Sub", ["prepared", "prepared"], ["nothing"])
    insert_before(model, reader, "prepared", [nothing, mean, helper.make_node("Add", ["nothing", "mean"], ["mixed"])])


def freeze_batch(model: onnx.ModelProto) -> None:
    reader = next(node for node in model.graph.node if "prepared" in node.input)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 64, 64]), "one picture"))
    insert_before(model, reader, "prepared", [helper.make_node("Reshape", ["prepared", "one picture"], ["frozen"])])


def use_custom_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    reader = of_operator(model, "Softmax")
    node = helper.make_node("Gelu", [reader.input[0]], ["custom"], domain="com.microsoft")
    insert_before(model, reader, reader.input[0], [node])


def poison(model: onnx.ModelProto) -> None:
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
    permute_answers,
    permute_names,
    cool_down,
    mix_batch,
    freeze_batch,
    use_custom_operator,
    poison,
)


@pytest.fixture(scope="session")
def planted() -> dict[str, Change]:
    """Faults to plant in a file, by name."""
    return {change.__name__: change for change in FAULTS}


@pytest.fixture(scope="session")
def vehicles(tmp_path_factory: pytest.TempPathFactory) -> Vehicles:
    """Two hundred toy vehicles in odd sizes, and what each shows."""
    folder = tmp_path_factory.mktemp("toys") / "toys"
    generate(folder, images=240, size_px=48, seed=3)
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["true_label"] and row["fault"] not in BROKEN]
    rng = np.random.default_rng(5)
    found = []
    for row in rows[:200]:
        drawn = Image.fromarray(decode((folder / row["path"]).read_bytes()))
        width, height = (int(side) for side in rng.integers(37, 224, 2))
        picture = np.array(drawn.resize((width, height), Image.Resampling.BICUBIC))
        found.append((picture, VEHICLES.index(row["true_label"])))
    return found


@pytest.fixture(scope="session")
def fitted(vehicles: Vehicles) -> Checkpoint:
    """A student whose answers are no coin toss: ImageNet weights and a head fitted to the very vehicles."""
    architecture, preprocessing = "tf_efficientnet_lite0", Preprocessing(64, 0.875)
    classifier, _ = build_classifier(architecture, len(VEHICLES), 64, ["wheel"], seed=0)
    classifier.mean.copy_(torch.tensor((0.6, 0.45, 0.3)))  # lite0's own are the same in every channel
    classifier.std.copy_(torch.tensor((0.2, 0.25, 0.3)))
    classifier.eval()
    with torch.inference_mode():
        prepared = [evaluation_transform(picture, preprocessing)[None] for picture, _ in vehicles]
        features = torch.cat([embed(classifier, one) for one in prepared]).numpy()
    probe = LinearProbe(len(VEHICLES), strength=0.01).fit(features, np.array([label for _, label in vehicles]))
    probe.write_into(head_of(classifier))
    return Checkpoint(classifier, list(VEHICLES), preprocessing, {"architecture": architecture})


@pytest.fixture(scope="session")
def fitted_file(fitted: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`student.onnx` of the fitted student, with the files beside it."""
    folder = tmp_path_factory.mktemp("fitted")
    export_student(fitted, folder, temperature=1.7)
    return folder / "student.onnx"


@pytest.fixture(scope="session")
def expected(fitted_file: Path, vehicles: Vehicles) -> np.ndarray:
    """The file's own probabilities of the vehicles, [200, 10]; they name the right class nearly always."""
    classifier = OnnxClassifier(fitted_file, threads=1)
    probabilities = np.stack([classifier.predict(picture)[0] for picture, _ in vehicles])
    right = probabilities.argmax(axis=1) == [label for _, label in vehicles]
    assert len(vehicles) == 200 and right.mean() > 0.9 and len(set(probabilities.argmax(axis=1))) == len(VEHICLES)
    return probabilities


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with transformers.js, onnxruntime-node and sharp, gone afterwards: half a gigabyte."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    # It brings onnxruntime-node and sharp along; the scripts that are ignored would fetch GPU libraries.
    words = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run([*words, "@huggingface/transformers@4"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install transformers.js: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
