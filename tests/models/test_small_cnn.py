"""The small network from random weights has what the rest of the project asks of a timm network."""

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from timm.models import group_parameters

from decant.export.network import network_graph
from decant.models.backbones import build_classifier, embed, head_of
from decant.models.weights import head_entries


@pytest.mark.parametrize("input_px", [32, 64, 96, (48, 96)])
def test_it_accepts_the_sizes_it_is_meant_for(input_px: int | tuple[int, int]) -> None:
    classifier, _ = build_classifier("small_cnn", 7, input_px, ["none"], seed=0)
    height, width = (input_px, input_px) if isinstance(input_px, int) else input_px
    images = torch.rand(2, 3, height, width)
    with torch.inference_mode():
        logits = classifier.eval()(images)
        torch.testing.assert_close(head_of(classifier)(embed(classifier, images)), logits)
    assert logits.shape == (2, 7)


def test_it_has_about_two_and_a_half_million_weights() -> None:
    classifier, _ = build_classifier("small_cnn", 10, 32, ["none"], seed=0)
    assert 2.3e6 < sum(value.numel() for value in classifier.parameters()) < 2.6e6


def test_its_layers_are_in_order_for_rates_that_differ_by_layer() -> None:
    network = timm.create_model("small_cnn", num_classes=3)
    groups = group_parameters(network, network.group_matcher())
    assert [names[0].split(".")[0] for names in groups.values()] == ["stem", "stages", "stages", "stages", "head"]
    assert set(groups[max(groups)]) == head_entries(network)


def test_its_exported_graph_gives_its_logits() -> None:
    classifier, _ = build_classifier("small_cnn", 4, 32, ["none"], seed=0)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    session = onnxruntime.InferenceSession(network_graph(classifier.eval(), 32).SerializeToString())
    with torch.inference_mode():
        expected = classifier(images).numpy()
    np.testing.assert_allclose(
        session.run(None, {session.get_inputs()[0].name: images.numpy()})[0], expected, atol=1e-4
    )
