"""Each event of a step has one part, and the parts of a real step are found."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from decant.timing.step_profile import OTHER, PARTS, STEP, in_region, part_of


def event(*names: str) -> SimpleNamespace:
    """An event of the profiler: its name, then those of the events around it, from the inside out."""
    parent = event(*names[1:]) if len(names) > 1 else None
    return SimpleNamespace(name=names[0], cpu_parent=parent)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (("aten::mkldnn_convolution", "aten::conv2d", STEP), "convolution forward"),
        (("aten::copy_", "aten::convolution_backward", "ConvolutionBackward0", STEP), "convolution backward"),
        (("autograd::engine::evaluate_function: ConvolutionBackward0", STEP), "convolution backward"),
        (("aten::mkldnn_convolution", "aten::conv2d", "Bf16DepthwiseBackward", STEP), "convolution backward"),
        (("aten::addmm", "aten::linear", STEP), "matrix products"),
        (("aten::mm", "AddmmBackward0", STEP), "matrix products"),
        (("aten::_scaled_dot_product_flash_attention_for_cpu", STEP), "matrix products"),
        (("aten::native_batch_norm", STEP), "norms"),
        (("NativeLayerNormBackward0", STEP), "norms"),
        (("aten::hardtanh_backward", "HardtanhBackward1", STEP), "activations"),
        (("aten::mul_", "Optimizer.step#AdamW.step", STEP), "optimiser"),
        (("aten::linalg_vector_norm", "clipping", STEP), "clipping"),
        (("aten::lerp_", "average of weights"), "average of weights"),
        (("aten::upsample_bilinear2d", "views", STEP), "views"),
        (("aten::_log_softmax", STEP), OTHER),
        (("aten::mkldnn_convolution", "aten::conv2d"), ""),  # of the evaluation
    ],
)
def test_an_event_belongs_to_a_region_or_to_the_nearest_known_operator(names: tuple[str, ...], part: str) -> None:
    assert part_of(event(*names)) == part
    assert part in (*PARTS, "")


def test_a_function_is_a_region_within_the_block_alone() -> None:
    owner = SimpleNamespace(double=lambda x: 2 * x)
    before: Callable[[torch.Tensor], torch.Tensor] = owner.double
    with in_region(owner, "double", "doubling"), torch.profiler.profile() as profiler:
        assert owner.double(torch.ones(1)) == 2
    assert owner.double is before
    assert [item.name for item in profiler.events() if item.cpu_parent is None].count("doubling") == 1
