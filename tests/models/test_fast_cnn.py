"""The small network for small images: a whitened stem, and what the rest of the project asks of a network."""

import pytest
import torch

from decant.models.backbones import build_classifier, embed, head_of
from decant.models.fast_cnn import FastCnn


def test_the_stem_whitens_the_patches_of_the_images_it_was_fitted_to() -> None:
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(
        torch.randn(400, 3, 40, 40) * torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1), 3, 1
    )
    network = FastCnn()
    network.fit_stem(smooth)
    filtered = network.stem(smooth)[:, :12].permute(1, 0, 2, 3).reshape(12, -1)
    torch.testing.assert_close(torch.cov(filtered), torch.eye(12), atol=0.05, rtol=0)
    torch.testing.assert_close(network.stem.weight[12:], -network.stem.weight[:12])


def test_a_higher_floor_enlarges_weak_directions_less() -> None:
    """A direction of variance v gets the variance v / (v + floor)."""
    torch.manual_seed(0)
    images = torch.randn(400, 3, 20, 20) * torch.tensor([0.1, 0.3, 1.0]).view(1, 3, 1, 1)
    network = FastCnn(whitening_floor=0.09)
    network.fit_stem(images)
    variances = network.stem(images)[:, :12].var(dim=(0, 2, 3)).sort().values
    expected = torch.tensor([0.01, 0.09, 1.0]).repeat_interleave(4)
    torch.testing.assert_close(variances, expected / (expected + 0.09), atol=0.02, rtol=0)


def test_the_stem_is_not_trained() -> None:
    network = FastCnn()
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    learned = dict(network.named_parameters())
    assert "stem.weight" not in learned and learned["stem.bias"].grad is not None
    assert "stem.weight" in network.state_dict()


@pytest.mark.parametrize("px", [16, 32, 64])
def test_it_is_built_and_probed_by_its_name_as_timms_networks_are(px: int) -> None:
    classifier, source = build_classifier("fast_cnn", 7, px, ["none"], 0)
    images = torch.rand(2, 3, px, px)
    logits = head_of(classifier)(embed(classifier.eval(), images))
    assert source == "none" and logits.shape == (2, 7)
    torch.testing.assert_close(logits, classifier(images))
