"""fp16: no float32 weight is left, and the logits are close to those of float32."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from decant.export.fp16 import fp16_network
from decant.export.interface import LOGITS, PIXELS
from decant.export.network import network_graph
from decant.models.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def network(checkpoint: Checkpoint) -> onnx.ModelProto:
    return network_graph(checkpoint.classifier, checkpoint.preprocessing.input_px)


def test_all_weights_are_fp16_and_input_and_output_stay_float32(network: onnx.ModelProto) -> None:
    before = network.SerializeToString()
    model = fp16_network(network)
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert TensorProto.FLOAT16 in types and TensorProto.FLOAT not in types
    values = [model.graph.input[0], model.graph.output[0]]
    assert [value.type.tensor_type.elem_type for value in values] == [TensorProto.FLOAT] * 2
    onnx.checker.check_model(model, full_check=True)
    assert network.SerializeToString() == before


def test_fp16_logits_are_close_to_float32_but_not_equal(network: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    side = checkpoint.preprocessing.input_px
    pixels = np.random.default_rng(0).random((3, 3, side, side), dtype=np.float32)
    fp32, fp16 = (
        onnxruntime.InferenceSession(model.SerializeToString()).run([LOGITS], {PIXELS: pixels})[0]
        for model in (network, fp16_network(network))
    )
    assert 0 < np.abs(fp32 - fp16).max() < 0.05 * np.abs(fp32).max()
