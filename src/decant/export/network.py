"""Conversion of a torch classifier to an ONNX network."""

import copy
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.jit import TracerWarning

from decant.data.preprocessing import InputPx, height_width
from decant.export.interface import LOGITS, OPSET, PIXELS
from decant.export.padding import fix_padding


def network_graph(classifier: nn.Module, input_px: InputPx) -> onnx.ModelProto:
    """The network alone, with its normalisation: pixels float32 [N, 3, height, width] in [0, 1] -> logits [N, K].

    classifier: has the inputs and outputs of `decant.models.classifier.Classifier`; it is copied, not changed. Batch
    normalisation is folded into the convolutions.
    """
    network = frozen_copy(classifier)
    height, width = height_width(input_px)
    example = torch.linspace(0, 1, 2 * 3 * height * width).reshape(2, 3, height, width)
    fix_padding(network, example)
    return trace(network, example)


def frozen_copy(classifier: nn.Module) -> nn.Module:
    """A float32 copy on the CPU, contiguous, in eval mode; the original keeps its mode, layout and device."""
    network = copy.deepcopy(classifier).to(device="cpu", dtype=torch.float32)
    return network.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def trace(network: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """The network as traced by torch's TorchScript exporter.

    The newer exporter (dynamo=True) needs onnxscript, one more dependency for the same graph. The older one warns at
    each call that it is deprecated, and that shapes become constants. Constants are right for every shape but the
    batch size: the example's batch size is 2 (1 would be broadcast), and verification runs 1, 7 and 32.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # engines fold what the exporter leaves
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=[PIXELS],
            output_names=[LOGITS],
            dynamic_axes={PIXELS: {0: "N"}, LOGITS: {0: "N"}},
            do_constant_folding=True,
        )
        return onnx.load(file)
