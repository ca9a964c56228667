"""The bare network compared with PyTorch."""

import copy
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from timm.layers import Conv2dSame

from decant.export.network import network_graph
from decant.export.runtime import open_session, run
from decant.models.checkpoint import Checkpoint

MakeCheckpoint = Callable[..., Checkpoint]


def logits_of(model: onnx.ModelProto, pixels: torch.Tensor) -> np.ndarray:
    return run(open_session(model.SerializeToString(), threads=1), {"pixels": pixels.numpy()}, ["logits"])[0]


def pixels(batch_size: int, input_px: int) -> torch.Tensor:
    return torch.rand(batch_size, 3, input_px, input_px, generator=torch.Generator().manual_seed(3))


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    ("architecture", "input_px", "arguments"),
    [
        ("test_efficientnet", 64, {}),
        ("tf_mobilenetv3_small_minimal_100", 64, {}),  # SAME padding
        ("tf_mobilenetv3_small_minimal_100", 65, {}),  # ... which differs at an odd size
        ("test_vit", 64, {"img_size": 64}),
        ("test_convnext", 64, {}),
    ],
)
def test_the_logits_equal_pytorchs_at_any_batch_size(
    make_checkpoint: MakeCheckpoint, architecture: str, input_px: int, arguments: dict[str, int]
) -> None:
    classifier = make_checkpoint(architecture, input_px, **arguments).classifier
    model = network_graph(classifier, input_px)
    for batch_size in (1, 2, 5):
        batch = pixels(batch_size, input_px)
        with torch.inference_mode():
            expected = classifier(batch).numpy()
        assert np.ptp(expected, axis=0).max() > 1e-2 or batch_size == 1  # the logits differ between images
        np.testing.assert_allclose(logits_of(model, batch), expected, atol=1e-4)


def test_batch_normalisation_is_folded_into_convolutions(checkpoint: Checkpoint) -> None:
    assert "BatchNormalization" not in operators(network_graph(checkpoint.classifier, 64))


def test_same_padding_adds_no_shape_arithmetic_to_the_graph(make_checkpoint: MakeCheckpoint) -> None:
    classifier = make_checkpoint("tf_mobilenetv3_small_minimal_100").classifier
    assert any(isinstance(module, Conv2dSame) for module in classifier.modules())
    assert not operators(network_graph(classifier, 64)) & {"Shape", "Gather", "Ceil"}


def test_the_callers_model_is_unchanged(make_checkpoint: MakeCheckpoint) -> None:
    classifier = make_checkpoint("tf_mobilenetv3_small_minimal_100").classifier
    classifier.to(memory_format=torch.channels_last).train()
    before = copy.deepcopy(classifier.state_dict())
    structure = str(classifier)
    network_graph(classifier, 64)
    assert classifier.training and str(classifier) == structure
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    assert classifier.backbone.conv_stem.weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_student_left_in_train_mode_is_exported_in_eval_mode(make_checkpoint: MakeCheckpoint) -> None:
    classifier = make_checkpoint("test_efficientnet", drop_rate=0.5).classifier
    batch = pixels(3, 64)
    with torch.inference_mode():
        expected = classifier.eval()(batch).numpy()
    model = network_graph(classifier.to(memory_format=torch.channels_last).train(), 64)
    np.testing.assert_allclose(logits_of(model, batch), expected, atol=1e-4)
