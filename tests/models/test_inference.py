"""Inference: evaluation mode, images in order, one array of predictions per TTA member."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import decode
from decant.data.preprocessing import Preprocessing
from decant.ensemble.tta import tta_members
from decant.models.classifier import Classifier
from decant.models.inference import evaluation_batches, features_of, predict

CPU = torch.device("cpu")
Small = Callable[..., Classifier]
Images = list[tuple[str, bytes]]


def statistics(classifier: Classifier) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in classifier.state_dict().items() if "running" in key or "num_b" in key}


class Noisy(nn.Module):
    """A network whose logits are random in training mode."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.dropout = inner, nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Any:
        return self.dropout(self.inner(images))


def test_batches_are_the_evaluation_transform_of_each_image_in_order(encoded: Images) -> None:
    preprocessing = Preprocessing(32, 0.875)
    batches = list(evaluation_batches(encoded, preprocessing, batch_size=2))
    assert [ids for ids, _ in batches] == [["id0", "id1"], ["id2", "id3"], ["id4"]]
    for row, image in enumerate(torch.cat([images for _, images in batches])):
        assert torch.equal(image, evaluation_transform(decode(encoded[row][1]), preprocessing))


def test_predictions_are_log_probabilities_of_the_network(small: Small, images: Tensor) -> None:
    classifier = small()
    predictions = predict(classifier, [(["a", "b"], images[:2]), (["c", "d"], images[2:])], CPU)
    with torch.inference_mode():
        expected = torch.softmax(classifier(images).double(), dim=1).log().numpy()
    assert predictions.ids == ["a", "b", "c", "d"]
    assert predictions.members["identity"].dtype == np.float32
    np.testing.assert_allclose(predictions.members["identity"], expected, atol=1e-5)


def test_a_network_in_training_mode_is_switched_to_evaluation_mode(small: Small, images: Tensor) -> None:
    # The planted bug: in training mode dropout gives random logits, and batch norm's statistics change with test data.
    classifier = small()
    expected = predict(classifier, [(list("abcd"), images)], CPU).members["identity"]
    classifier.backbone = Noisy(classifier.backbone)
    classifier.train()
    before = statistics(classifier)
    once = predict(classifier, [(list("abcd"), images)], CPU).members["identity"]
    twice = predict(classifier, [(list("abcd"), images)], CPU).members["identity"]
    np.testing.assert_array_equal(once, twice)
    np.testing.assert_allclose(once, expected, atol=1e-6)
    assert all(torch.equal(value, statistics(classifier)[key]) for key, value in before.items())


def test_the_planted_bug_changes_the_statistics(small: Small, images: Tensor) -> None:
    # The test above depends on this: in training mode a forward pass changes the statistics.
    classifier = small().train()
    before = statistics(classifier)
    with torch.no_grad():
        classifier(images)
    assert any(not torch.equal(value, statistics(classifier)[key]) for key, value in before.items())


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(small: Small, images: Tensor) -> None:
    together = predict(small(), [(list("abcd"), images)], CPU).members["identity"]
    alone = [predict(small(), [([name], images[row : row + 1])], CPU) for row, name in enumerate("abcd")]
    np.testing.assert_allclose(together, np.concatenate([single.members["identity"] for single in alone]), atol=1e-5)


def test_each_member_predicts_its_own_transform_of_the_images(small: Small, images: Tensor) -> None:
    classifier = small()
    predictions = predict(classifier, [(list("abcd"), images)], CPU, tta_members(["hflip"], fixed_size=True))
    mirrored = predict(classifier, [(list("abcd"), torch.from_numpy(images.numpy()[..., ::-1].copy()))], CPU)
    assert list(predictions.members) == ["identity", "hflip"]
    np.testing.assert_allclose(predictions.members["hflip"], mirrored.members["identity"], atol=1e-6)
    assert not np.allclose(predictions.members["hflip"], predictions.members["identity"], atol=1e-4)


def test_no_images_give_no_rows(small: Small) -> None:
    predictions = predict(small(classes=5), [], CPU)
    assert predictions.ids == [] and predictions.members["identity"].shape == (0, 5)


def test_features_are_the_input_of_the_head(small: Small, images: Tensor) -> None:
    classifier = small()
    features = features_of(classifier, images)
    with torch.inference_mode():
        logits = classifier.backbone.classifier(torch.from_numpy(features))
        np.testing.assert_allclose(logits.numpy(), classifier(images).numpy(), atol=1e-5)
    assert features.dtype == np.float32


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_convnext", "test_vit"])
def test_predictions_of_one_network_are_repeatable(small: Small, images: Tensor, architecture: str) -> None:
    batches = [(list("abcd"), images)]
    first, second = predict(small(architecture), batches, CPU), predict(small(architecture), batches, CPU)
    np.testing.assert_array_equal(first.members["identity"], second.members["identity"])
