"""Static int8 quantisation of the network with calibration images; preprocessing and softmax stay in float."""

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from decant.export.interface import LOGITS, PIXELS
from decant.export.network import network_graph
from decant.export.student import check_classes, full_graph, sealed, write_bytes
from decant.export.verification.onnx_check import STANDARD_DOMAINS
from decant.models.checkpoint import Checkpoint


def export_int8(
    checkpoint: Checkpoint,
    batches: Iterable[np.ndarray],
    folder: Path,
    temperature: float,
    metadata: Mapping[str, str],
) -> None:
    """Write `student_int8.onnx` and `student_int8_bare.onnx` into `folder`.

    batches: calibration images from train, prepared for the network: float32 [B, 3, S, S] in [0, 1]. temperature,
    metadata: as for `decant.export.student.export_student`.
    """
    bare = int8_network(network_graph(checkpoint.classifier, checkpoint.preprocessing.input_px), batches)
    check_classes(bare, checkpoint.classes)
    full = full_graph(bare, checkpoint.preprocessing, temperature)
    for graph, model, name in (("bare", bare, "student_int8_bare.onnx"), ("full", full, "student_int8.onnx")):
        write_bytes(folder / name, sealed(model, graph, checkpoint, temperature, {**metadata, "dtype": "int8"}))


def int8_network(
    network: onnx.ModelProto,
    batches: Iterable[np.ndarray],
    per_channel: bool = True,
    last_layer: bool = False,
    method: CalibrationMethod = CalibrationMethod.MinMax,
    full_range: bool = False,
) -> onnx.ModelProto:
    """The network with int8 weights (a scale per output channel) and uint8 activations (a scale per tensor).

    Quantise and dequantise nodes are placed around every operator (QDQ), and engines fuse them (Jacob et al. 2018,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"). The range of an
    activation is from its smallest to its largest value in calibration. The last layer stays in float unless
    `last_layer` is true: it is small, and its rounding errors change the logits directly.
    `results/export/formats.csv` compares these choices.

    Weights have 7 bits, in [-64, 64], unless `full_range` is true: on x86 processors without VNNI, ONNX Runtime adds
    pairs of uint8 x int8 products in 16 bits. These sums saturate beyond 32,767, and the predictions become wrong.

    method: MinMax or Percentile; Percentile needs batches of equal size. Entropy gives the same ranges as MinMax,
    because ONNX Runtime's histogram has as many bins as levels by default and `quantize_static` cannot change that.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        copy = onnx.ModelProto()  # because the quantiser changes its input
        copy.CopyFrom(network)
        quant_pre_process(copy, prepared, skip_symbolic_shape=True)
        with warnings_silenced():
            quantize_static(
                prepared,
                quantised,
                Calibration(batches),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=per_channel,
                reduce_range=not full_range,
                calibrate_method=method,
                nodes_to_exclude=[] if last_layer else [logits_node(prepared)],
            )
        model = onnx.load(quantised)
    standard = [opset for opset in model.opset_import if opset.domain in STANDARD_DOMAINS]
    del model.opset_import[:]  # the quantiser adds its own operator set, which is unused
    model.opset_import.extend(standard)
    model.ir_version = network.ir_version
    return model


def logits_node(network: Path) -> str:
    """The name of the node whose output is the logits."""
    return next(str(node.name) for node in onnx.load(network).graph.node if LOGITS in node.output)


@contextmanager
def warnings_silenced() -> Iterator[None]:
    """Hide the quantiser's log line for each channel of tiny weights, and its deprecation warnings."""
    root = logging.getLogger()  # the quantiser logs to the root logger
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        root.setLevel(level)


class Calibration(CalibrationDataReader):
    """The calibration batches in the form that ONNX Runtime reads: one batch per call."""

    def __init__(self, batches: Iterable[np.ndarray]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch as {name of the network's input: batch}; None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {PIXELS: batch}
