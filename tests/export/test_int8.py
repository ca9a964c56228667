"""int8: size, calibration, quantised layers, saturation, and verification with a budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod

from decant.data.evaluation_transform import evaluation_transform
from decant.export.int8 import export_int8, int8_network
from decant.export.interface import LOGITS, PREPARED
from decant.export.network import network_graph
from decant.export.runtime import OnnxClassifier
from decant.export.verification.onnx_check import saturation_faults, structural_faults
from decant.export.verification.verify import verify
from decant.models.checkpoint import Checkpoint

Vehicles = list[tuple[np.ndarray, int]]


def calibration(fitted: Checkpoint, vehicles: Vehicles) -> list[np.ndarray]:
    """Every third vehicle, prepared for the network."""
    return [evaluation_transform(image, fitted.preprocessing)[None].numpy() for image, _ in vehicles[::3]]


@pytest.fixture(scope="module")
def quantised(fitted: Checkpoint, fitted_file: Path, vehicles: Vehicles) -> Path:
    """`student_int8.onnx` beside the fitted student's `student.onnx`."""
    export_int8(fitted, calibration(fitted, vehicles), fitted_file.parent, temperature=1.7, metadata={})
    return fitted_file.with_name("student_int8.onnx")


def agreement(file: Path, vehicles: Vehicles, expected: np.ndarray) -> float:
    classifier = OnnxClassifier(file, threads=1)
    predictions = [int(classifier.predict(image)[0].argmax()) for image, _ in vehicles]
    return float(np.mean(np.array(predictions) == expected.argmax(axis=1)))


def test_int8_predicts_nearly_the_same_classes_as_fp32(
    quantised: Path, vehicles: Vehicles, expected: np.ndarray
) -> None:
    assert agreement(quantised, vehicles, expected) >= 0.95


def test_predictions_depend_on_the_calibration_images(
    fitted: Checkpoint, vehicles: Vehicles, expected: np.ndarray, tmp_path: Path
) -> None:
    black = [np.zeros_like(batch) for batch in calibration(fitted, vehicles)[:4]]
    export_int8(fitted, black, tmp_path, temperature=1.7, metadata={})
    assert agreement(tmp_path / "student_int8.onnx", vehicles, expected) < 0.6


def test_the_file_is_a_third_of_the_size_and_convolutions_have_a_scale_per_channel(
    quantised: Path, fitted_file: Path
) -> None:
    assert quantised.stat().st_size < fitted_file.stat().st_size / 3
    model = onnx.load(quantised)
    producers = {name: node for node in model.graph.node for name in node.output}
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 40
    for node in convolutions:
        weight = producers[node.input[1]]
        assert weight.op_type == "DequantizeLinear" and tensors[weight.input[0]].dtype == np.int8
        assert tensors[weight.input[1]].shape == tensors[weight.input[0]].shape[:1]


def test_preprocessing_last_layer_and_softmax_stay_in_float(quantised: Path) -> None:
    model = onnx.load(quantised)
    nodes = list(model.graph.node)
    prepared = next(index for index, node in enumerate(nodes) if PREPARED in node.output)
    assert not [node for node in nodes[: prepared + 1] if "Quantize" in node.op_type]
    last = next(node for node in nodes if LOGITS in node.output)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types[last.input[1]] == onnx.TensorProto.FLOAT
    assert nodes[-1].op_type == "Softmax"


def test_the_metadata_contain_int8_and_verification_applies_the_budget(quantised: Path, vehicles: Vehicles) -> None:
    assert OnnxClassifier(quantised, threads=1).metadata["dtype"] == "int8"
    images = [(str(index), image) for index, (image, _) in enumerate(vehicles)]
    classes = OnnxClassifier(quantised, threads=1).classes
    labels = {str(index): classes[label] for index, (_, label) in enumerate(vehicles)}
    report = verify(quantised, images, labels=labels, budget=2.5)
    assert report["passed"] and report["precision"] == "int8"
    assert report["gates"]["accuracy"]["passed"] is True and report["gates"]["structure"]["passed"] is True


@pytest.fixture(scope="module")
def quantise(checkpoint: Checkpoint) -> Callable[..., onnx.ModelProto]:
    """The small student's network, calibrated on noise, with options."""
    network = network_graph(checkpoint.classifier, checkpoint.preprocessing.input_px)
    noise = np.random.default_rng(0).random((2, 4, 3, 64, 64), dtype=np.float32)
    return lambda **options: int8_network(network, list(noise), **options)


def test_each_option_changes_the_quantisation_as_documented(
    quantise: Callable[..., onnx.ModelProto], quantisation_of: Callable[[onnx.ModelProto], Any]
) -> None:
    plain = quantisation_of(quantise())
    assert all(scales.ndim == 1 for scales in plain.scales) and not plain.last_layer and plain.largest_weight == 64
    assert all(scales.ndim == 0 for scales in quantisation_of(quantise(per_channel=False)).scales)
    assert quantisation_of(quantise(last_layer=True)).last_layer
    assert quantisation_of(quantise(full_range=True)).largest_weight == 127
    percentile = quantisation_of(quantise(method=CalibrationMethod.Percentile)).ranges
    assert percentile.keys() == plain.ranges.keys() and percentile != plain.ranges
    assert all(scale <= plain.ranges[name] for name, scale in percentile.items())


def test_entropy_gives_the_same_ranges_as_minmax(
    quantise: Callable[..., onnx.ModelProto], quantisation_of: Callable[[onnx.ModelProto], Any]
) -> None:
    """If this fails, ONNX Runtime's entropy calibration works, and the table of formats should get a row for it."""
    entropy = quantisation_of(quantise(method=CalibrationMethod.Entropy)).ranges
    assert entropy == pytest.approx(quantisation_of(quantise()).ranges)


def test_the_same_calibration_gives_the_same_bytes(
    quantised: Path, fitted: Checkpoint, vehicles: Vehicles, tmp_path: Path
) -> None:
    export_int8(fitted, calibration(fitted, vehicles), tmp_path, temperature=1.7, metadata={})
    assert (tmp_path / "student_int8.onnx").read_bytes() == quantised.read_bytes()


def int8_weights(model: onnx.ModelProto) -> list[np.ndarray]:
    """The int8 weights of every convolution and matrix product, as matrices [outputs, inputs]."""
    producers = {name: node for node in model.graph.node for name in node.output}
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    matrices = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in producers:
            weight = tensors[producers[node.input[1]].input[0]]
            assert weight.dtype == np.int8
            matrices.append(weight.reshape(len(weight), -1) if node.op_type == "Conv" else weight.T)
    return matrices


def saturating_product(weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """uint8 [K, n] activations x int8 [O, K] weights as VPMADDUBSW adds them: pairs in 16 bits, then in 32."""
    padded = np.pad(weights.astype(np.int64), ((0, 0), (0, weights.shape[1] % 2)))
    padded_activations = np.pad(activations.astype(np.int64), ((0, activations.shape[0] % 2), (0, 0)))
    products = padded[:, :, None] * padded_activations[None]
    return (products[:, 0::2] + products[:, 1::2]).clip(-(2**15), 2**15 - 1).sum(axis=1)


def test_no_sum_of_the_shipped_weights_saturates_on_a_processor_without_vnni(
    quantise: Callable[..., onnx.ModelProto],
) -> None:
    draw = np.random.default_rng(0)
    wrong_sums = {}
    for name, options in {"shipped": {}, "full range": {"full_range": True}}.items():
        wrong_sums[name] = 0
        for weights in int8_weights(quantise(**options)):
            bright = draw.integers(200, 256, (weights.shape[1], 16))
            agreeing = np.where(weights[:1].T > 0, 255, 0)  # the worst case for the first output
            for activations in (bright, agreeing):
                exact = weights.astype(np.int64) @ activations
                wrong_sums[name] += int((saturating_product(weights, activations) != exact).sum())
    assert wrong_sums["shipped"] == 0 and wrong_sums["full range"] > 0


@pytest.mark.parametrize("model", ["student", "matrix product"])
def test_weights_that_can_saturate_are_a_structural_fault(
    quantise: Callable[..., onnx.ModelProto], model: str, tmp_path: Path
) -> None:
    """In the student's convolutions, and in one matrix product with a weight one step above the limit."""
    if model == "student":
        sound, faulty = quantise(), quantise(full_range=True)
    else:
        sound, faulty = matrix_product(64), matrix_product(65)
    assert saturation_faults(sound.graph) == []
    assert saturation_faults(faulty.graph)
    if model == "student":
        onnx.helper.set_model_props(faulty, {"opset": "18"})
        onnx.save(faulty, tmp_path / "faulty.onnx")
        assert structural_faults(tmp_path / "faulty.onnx") == saturation_faults(faulty.graph)


def matrix_product(largest: int) -> onnx.ModelProto:
    """A model of one quantised MatMul: uint8 activations [n, 3], int8 weights [3, 2], the largest twice."""
    text = """<ir_version: 8, opset_import: ["" : 18]>
    graph (uint8[n, 3] given) => (float[n, 2] result) <float scale = {0.1}, uint8 zero = {3}, int8 none = {0}> {
        activation = DequantizeLinear(given, scale, zero)
        weight = DequantizeLinear(weights, scale, none)
        result = MatMul(activation, weight)
    }"""
    model = onnx.parser.parse_model(text)
    weights = np.array([[largest, 1], [largest, -7], [0, 3]], np.int8)
    model.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    return model
